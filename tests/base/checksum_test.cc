#include "base/checksum.h"

#include <gtest/gtest.h>

#include <string>

namespace synthvol {
namespace {

TEST(Crc32c, GivesTheFiguresOfRfc3720) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(""), 0u);
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
