// CRC32C with the processor's own instruction where it has one (SSE 4.2), a table otherwise.
// Debian 12 has no C++ library for it; every streamed byte passes here.
#include <algorithm>
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
// The instruction takes three cycles but a new one can start in each: three runs go side by side.
constexpr size_t kRunBytes = 2048;

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

uint64_t LoadWord(const char* data) {
  uint64_t word;
  std::memcpy(&word, data, sizeof(word));
  return word;
}

__attribute__((target("sse4.2"))) uint32_t ExtendSse42(uint32_t state, const char* data,
                                                       size_t size) {
  for (; size >= 3 * kRunBytes; data += 3 * kRunBytes, size -= 3 * kRunBytes) {
    uint64_t first = state;
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kRunBytes; i += sizeof(uint64_t)) {
      first = __builtin_ia32_crc32di(first, LoadWord(data + i));
      second = __builtin_ia32_crc32di(second, LoadWord(data + kRunBytes + i));
      third = __builtin_ia32_crc32di(third, LoadWord(data + 2 * kRunBytes + i));
    }
    state = AppendZeros(AppendZeros(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second)) ^
            static_cast<uint32_t>(third);
  }
  uint64_t wide = state;
  for (; size >= 8; data += 8, size -= 8) {
    wide = __builtin_ia32_crc32di(wide, LoadWord(data));
  }
  return ExtendPortable(static_cast<uint32_t>(wide), data, size);
}
#endif

// As memcpy of `size` bytes. glibc copies 2112 bytes and more by `rep movsb` where the CPU claims
// to do that fast, which Zen 3 and Zen 4 do not when source and destination lie badly within their
// pages (glibc bug 30994). Strides below that bound go through vector registers on every CPU.
void CopyInStrides(const char* from, size_t size, char* to) {
  constexpr size_t kStrideBytes = 2048;
  for (; size > kStrideBytes; from += kStrideBytes, to += kStrideBytes, size -= kStrideBytes) {
    std::memcpy(to, from, kStrideBytes);
  }
  std::memcpy(to, from, size);
}

using Extend = uint32_t (*)(uint32_t, const char*, size_t);

Extend ChooseExtend() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ExtendSse42;
#endif
  return ExtendPortable;
}

Extend GetExtend() {
  static const Extend kExtend = ChooseExtend();
  return kExtend;
}

}  // namespace

uint32_t Crc32c(std::string_view data) {
  return ~GetExtend()(0xFFFFFFFFu, data.data(), data.size());
}

uint32_t CopyWithCrc32c(std::string_view data, char* to) {
  // Small enough to be still in the nearest cache when it is summed, whole runs of ExtendSse42.
  constexpr size_t kPieceBytes = 12288;
  const Extend extend = GetExtend();
  uint32_t state = 0xFFFFFFFFu;
  for (; !data.empty(); data.remove_prefix(std::min(data.size(), kPieceBytes))) {
    const size_t size = std::min(data.size(), kPieceBytes);
    CopyInStrides(data.data(), size, to);
    state = extend(state, to, size);
    to += size;
  }
  return ~state;
}

}  // namespace synthvol
