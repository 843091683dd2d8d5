// The phantom's random numbers: splitmix64, so that a seed means the same everywhere.
//
// A Random is a plain value; not thread-safe.
#ifndef SYNTHVOL_IMAGING_PHANTOM_RANDOM_H_
#define SYNTHVOL_IMAGING_PHANTOM_RANDOM_H_

#include <cmath>
#include <cstdint>
#include <numbers>

namespace synthvol::imaging::phantom {

// Returns splitmix64's finaliser of `x`.
constexpr uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

class Random {
 public:
  // Streams of one seed are independent of each other.
  Random(uint64_t seed, uint64_t stream) : state_(Mix(Mix(seed) ^ stream)) {}

  // Draws from [0, 1).
  double Uniform() { return static_cast<double>(Mix(state_++) >> 11) * 0x1.0p-53; }
  // Draws from [low, high).
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  bool Chance(double probability) { return Uniform() < probability; }
  // Draws from the standard normal distribution (Box-Muller).
  double Normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * Uniform());
  }
  double Normal(double mean, double deviation) { return mean + deviation * Normal(); }

 private:
  uint64_t state_;
};

}  // namespace synthvol::imaging::phantom

#endif  // SYNTHVOL_IMAGING_PHANTOM_RANDOM_H_
