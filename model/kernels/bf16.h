// bfloat16, the upper half of a float, as its 16 bits.
#ifndef SYNTHVOL_MODEL_KERNELS_BF16_H_
#define SYNTHVOL_MODEL_KERNELS_BF16_H_

#include <bit>
#include <cstdint>

namespace synthvol::model {

// Rounds a finite value to the nearest bfloat16, halves to even.
inline uint16_t ToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline float FromBf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_BF16_H_
