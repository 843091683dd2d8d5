#include "base/checksum.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace synthvol {
namespace {

TEST(Crc32c, GivesTheFiguresOfRfc3720) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(""), 0u);
}

// One bit after the other, as RFC 3720 defines it.
uint32_t BitwiseCrc32c(const std::string& data) {
  uint32_t state = 0xFFFFFFFFu;
  for (const char byte : data) {
    state ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      state = (state & 1) != 0 ? (state >> 1) ^ 0x82F63B78u : state >> 1;
    }
  }
  return ~state;
}

TEST(Crc32c, IsTheSameForEveryLengthAndAlignment) {
  std::string data(40000, '\0');
  uint32_t random = 1;
  for (char& byte : data) {
    random = random * 1664525 + 1013904223;
    byte = static_cast<char>(random >> 24);
  }
  for (const size_t size : {1, 7, 8, 9, 63, 767, 768, 769, 776, 1535, 1536, 12287, 18500, 39990}) {
    for (const size_t offset : {0, 1, 3, 8}) {
      const std::string piece = data.substr(offset, size);
      EXPECT_EQ(Crc32c(std::string_view(data).substr(offset, size)), BitwiseCrc32c(piece))
          << size << " bytes at " << offset;
      std::string copy(size, 'x');
      EXPECT_EQ(CopyWithCrc32c(std::string_view(data).substr(offset, size), copy.data()),
                BitwiseCrc32c(piece));
      EXPECT_EQ(copy, piece);
    }
  }
}

TEST(Crc32c, OfTwoRunsIsThatOfThemInARow) {
  std::string data(70000, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * i >> 3);
  const std::string_view view(data);
  for (const size_t first : {0, 1, 9, 4096, 65535, 70000}) {
    const uint32_t joined = ConcatCrc32c(Crc32c(view.substr(0, first)), Crc32c(view.substr(first)),
                                         data.size() - first);
    EXPECT_EQ(joined, Crc32c(view)) << "cut at " << first;
  }
  // A length beyond 32 bits: 2^32 + 1 zeros after a byte, in two steps and in one.
  const uint32_t one_zero = Crc32c(std::string_view("\0", 1));
  uint32_t zeros = one_zero;
  for (int i = 0; i < 32; ++i) zeros = ConcatCrc32c(zeros, zeros, uint64_t{1} << i);
  const uint32_t in_steps =
      ConcatCrc32c(ConcatCrc32c(Crc32c("a"), zeros, uint64_t{1} << 32), one_zero, 1);
  EXPECT_EQ(ConcatCrc32c(Crc32c("a"), ConcatCrc32c(zeros, one_zero, 1), (uint64_t{1} << 32) + 1),
            in_steps);
}

TEST(Sha256, GivesTheFiguresOfFips180InOneGoAndInPieces) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 sha;
  sha.Update("a");
  sha.Update("bc");
  const std::string first = sha.Finish();
  sha.Update("abc");
  EXPECT_EQ(first, sha.Finish());
}

TEST(Sha256, NamesAMissingFile) {
  const auto digest = Sha256HexOfFile("/nonexistent/file");
  ASSERT_FALSE(digest.ok());
  EXPECT_NE(digest.status().message().find("/nonexistent/file"), std::string::npos);
}

}  // namespace
}  // namespace synthvol
