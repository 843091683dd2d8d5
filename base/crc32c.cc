// CRC32C with the processor's own instruction where it has one (SSE 4.2), a table otherwise.
// Debian 12 has no C++ library for it; every streamed byte passes here.
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/checksum.h"

namespace synthvol {
namespace {

constexpr uint32_t kReflectedPolynomial = 0x82F63B78u;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value & 1) != 0 ? (value >> 1) ^ kReflectedPolynomial : value >> 1;
    }
    table[byte] = value;
  }
  return table;
}

uint32_t ExtendPortable(uint32_t state, const char* data, size_t size) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  for (size_t i = 0; i < size; ++i) {
    state = kTable[(state ^ static_cast<uint8_t>(data[i])) & 0xff] ^ (state >> 8);
  }
  return state;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t ExtendSse42(uint32_t state, const char* data,
                                                       size_t size) {
  uint64_t wide = state;
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, sizeof(word));
    wide = __builtin_ia32_crc32di(wide, word);
  }
  return ExtendPortable(static_cast<uint32_t>(wide), data, size);
}
#endif

using Extend = uint32_t (*)(uint32_t, const char*, size_t);

Extend ChooseExtend() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ExtendSse42;
#endif
  return ExtendPortable;
}

}  // namespace

uint32_t Crc32c(std::string_view data) {
  static const Extend kExtend = ChooseExtend();
  return ~kExtend(0xFFFFFFFFu, data.data(), data.size());
}

}  // namespace synthvol
