// Random numbers as a function of where they are used: seed, purpose and position. A run that
// resumes draws what the uninterrupted run would have drawn, on any number of processes, and no
// generator's state has to be saved. Pure functions.
#ifndef SYNTHVOL_MODEL_TRAIN_RANDOM_STREAM_H_
#define SYNTHVOL_MODEL_TRAIN_RANDOM_STREAM_H_

#include <cstdint>

namespace synthvol::model {

enum class Purpose : uint64_t {
  kOrder = 1,
  kCrop,
  kAugmentation,
  kNoiseDiscriminator,
  kNoiseGenerator,
  kNoiseCrf,
  kPreview,
};

// Mixes the three to 64 uniform bits (splitmix64's finaliser, twice).
inline uint64_t RandomBits(uint64_t seed, Purpose purpose, uint64_t position) {
  const auto mix = [](uint64_t x) {
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  };
  return mix(mix(seed ^ (static_cast<uint64_t>(purpose) << 56)) + position);
}

// Returns a number in [0, bound).
inline uint64_t RandomBelow(uint64_t bits, uint64_t bound) { return bits % bound; }

// Returns a number in [-1, 1).
inline double RandomSigned(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-52 - 1.0;
}

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_RANDOM_STREAM_H_
