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

// Extends `state` by `size` bytes of `from`; with kCopy they are copied to `to` as well.
template <bool kCopy>
uint32_t ExtendPortable(uint32_t state, const char* from, size_t size, char* to) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  for (size_t i = 0; i < size; ++i) {
    state = kTable[(state ^ static_cast<uint8_t>(from[i])) & 0xff] ^ (state >> 8);
    if constexpr (kCopy) to[i] = from[i];
  }
  return state;
}

#if defined(__x86_64__)
// The instruction takes three cycles but a new one can start in each: three runs go side by side.
// They are short, for the sake of the prefetchers: runs of 512 to 2048 bytes take twice to three
// times as long on Zen 4 (22 against 8 to 10 GB/s).
constexpr size_t kRunBytes = 256;

// What a state becomes after kRunBytes zeros. The map is linear, so a table for each byte of the
// state holds it.
using ZerosTable = std::array<std::array<uint32_t, 256>, 4>;

constexpr ZerosTable MakeZerosTable() {
  constexpr std::array<uint32_t, 256> kByte = MakeTable();
  std::array<uint32_t, 32> of_bit{};
  for (uint32_t bit = 0; bit < 32; ++bit) {
    uint32_t state = uint32_t{1} << bit;
    for (size_t i = 0; i < kRunBytes; ++i) state = kByte[state & 0xff] ^ (state >> 8);
    of_bit[bit] = state;
  }
  ZerosTable table{};
  for (uint32_t byte = 0; byte < 4; ++byte) {
    for (uint32_t value = 0; value < 256; ++value) {
      for (uint32_t bit = 0; bit < 8; ++bit) {
        if ((value >> bit & 1) != 0) table[byte][value] ^= of_bit[8 * byte + bit];
      }
    }
  }
  return table;
}

uint32_t AppendZeros(uint32_t state) {
  static constexpr ZerosTable kTable = MakeZerosTable();
  return kTable[0][state & 0xff] ^ kTable[1][state >> 8 & 0xff] ^ kTable[2][state >> 16 & 0xff] ^
         kTable[3][state >> 24];
}

// Returns the word at `from`, and with kCopy stores it at `to` as well.
template <bool kCopy>
uint64_t TakeWord(const char* from, char* to) {
  uint64_t word;
  std::memcpy(&word, from, sizeof(word));
  if constexpr (kCopy) std::memcpy(to, &word, sizeof(word));
  return word;
}

// Extends `state` by `size` bytes of `from`; with kCopy they are copied to `to` on the way, a word
// at a time, which keeps up with the instruction. A memcpy of each piece would not: of 2112 bytes
// and more glibc makes `rep movsb`, and of a constant length up to 8 KiB the compiler makes
// `rep movsq`, both of which Zen 3 and Zen 4 do slowly when source and destination lie badly within
// their pages (glibc bug 30994).
template <bool kCopy>
__attribute__((target("sse4.2"))) uint32_t ExtendSse42(uint32_t state, const char* from,
                                                       size_t size, char* to) {
  for (; size >= 3 * kRunBytes; size -= 3 * kRunBytes) {
    uint64_t first = state;
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kRunBytes; i += sizeof(uint64_t)) {
      const size_t j = kRunBytes + i;
      const size_t k = 2 * kRunBytes + i;
      first = __builtin_ia32_crc32di(first, TakeWord<kCopy>(from + i, to + i));
      second = __builtin_ia32_crc32di(second, TakeWord<kCopy>(from + j, to + j));
      third = __builtin_ia32_crc32di(third, TakeWord<kCopy>(from + k, to + k));
    }
    state = AppendZeros(AppendZeros(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second)) ^
            static_cast<uint32_t>(third);
    from += 3 * kRunBytes;
    if constexpr (kCopy) to += 3 * kRunBytes;
  }
  uint64_t wide = state;
  for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t)) {
    wide = __builtin_ia32_crc32di(wide, TakeWord<kCopy>(from, to));
    from += sizeof(uint64_t);
    if constexpr (kCopy) to += sizeof(uint64_t);
  }
  return ExtendPortable<kCopy>(static_cast<uint32_t>(wide), from, size, to);
}
#endif

using Extend = uint32_t (*)(uint32_t, const char*, size_t, char*);

template <bool kCopy>
Extend ChooseExtend() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ExtendSse42<kCopy>;
#endif
  return ExtendPortable<kCopy>;
}

// Product of two polynomials modulo the CRC's, in its bit order: the highest bit is x^0.
uint32_t MultiplyModulo(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (; a != 0; a <<= 1) {
    if ((a & 0x80000000u) != 0) product ^= b;
    b = (b & 1) != 0 ? (b >> 1) ^ kReflectedPolynomial : b >> 1;
  }
  return product;
}

}  // namespace

uint32_t Crc32c(std::string_view data) {
  static const Extend kExtend = ChooseExtend<false>();
  return ~kExtend(0xFFFFFFFFu, data.data(), data.size(), nullptr);
}

uint32_t CopyWithCrc32c(std::string_view data, char* to) {
  static const Extend kExtend = ChooseExtend<true>();
  return ~kExtend(0xFFFFFFFFu, data.data(), data.size(), to);
}

uint32_t ConcatCrc32c(uint32_t first, uint32_t second, uint64_t second_bytes) {
  // n bytes after the first run multiply its CRC by x^(8n); the inversions at both ends cancel out.
  uint32_t power = 0x80000000u >> 8;
  for (uint64_t n = second_bytes; n != 0; n >>= 1) {
    if ((n & 1) != 0) first = MultiplyModulo(power, first);
    power = MultiplyModulo(power, power);
  }
  return first ^ second;
}

}  // namespace synthvol
