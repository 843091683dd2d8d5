#include "imaging/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "tests/imaging/temp_dir.h"

namespace synthvol::imaging {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(NpyTest, HeaderIsWhatNumpyWrites) {
  const std::string header = FormatNpyHeader(VoxelType::kInt16, {2, 3, 4});
  EXPECT_EQ(header.size() % 64, 0u);
  EXPECT_EQ(header.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_EQ(header.substr(10, 60), "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3, 4),");
  EXPECT_EQ(header.back(), '\n');
  EXPECT_THAT(FormatNpyHeader(VoxelType::kFloat32, {5}), HasSubstr("'<f4'"));
  EXPECT_THAT(FormatNpyHeader(VoxelType::kFloat32, {5}), HasSubstr("(5,), }"));
}

TEST(NpyTest, WritesInPiecesAndReadsBack) {
  const TempDir dir;
  const std::string path = dir / "a.npy";
  auto writer = NpyWriter::Create(path, VoxelType::kInt16, {2, 3});
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Append(std::vector<int16_t>{1, -2}).ok());
  ASSERT_TRUE(writer->Append(std::vector<int16_t>{3, 4, 5, -32768}).ok());
  EXPECT_FALSE(std::filesystem::exists(path)) << "not before Commit()";
  ASSERT_TRUE(writer->Commit().ok());
  std::vector<int64_t> shape;
  const auto read = ReadNpyInt16(path, &shape);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(shape, ElementsAre(2, 3));
  EXPECT_THAT(*read, ElementsAre(1, -2, 3, 4, 5, -32768));
  EXPECT_THAT(std::string(ReadNpyFloat32(path, &shape).status().message()),
              HasSubstr("element type '<i2'; expected '<f4'"));
}

TEST(NpyTest, RefusesTooManyTooFewAndOtherElements) {
  const TempDir dir;
  {
    auto writer = NpyWriter::Create(dir / "a.npy", VoxelType::kFloat32, {3});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->Append(std::vector<float>{1, 2}).ok());
    EXPECT_EQ(writer->Append(std::vector<float>{1, 2}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(writer->Append(std::vector<int16_t>{1}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(writer->Commit().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(dir.EntryCount(), 0) << "an unfinished file leaves nothing";
}

std::string WithDictionary(const std::string& dictionary) {
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(dictionary.size() & 0xff));
  header.push_back(static_cast<char>(dictionary.size() >> 8));
  return header + dictionary;
}

struct BadNpy {
  const char* name;
  std::string bytes;
  const char* message;
};

class NpyHostileTest : public ::testing::TestWithParam<BadNpy> {};

TEST_P(NpyHostileTest, IsRefusedWithAMessage) {
  const TempDir dir;
  const std::string path = dir / "bad.npy";
  ASSERT_TRUE(WriteFileAtomically(path, GetParam().bytes).ok());
  std::vector<int64_t> shape;
  const auto read = ReadNpyInt16(path, &shape);
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("bad.npy: "));
  EXPECT_THAT(std::string(read.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Table, NpyHostileTest,
    ::testing::Values(
        BadNpy{"empty", "", "too short for a .npy file"},
        BadNpy{"foreign", "PK\x03\x04 a zip archive", "not a .npy file"},
        BadNpy{"version", std::string("\x93NUMPY\x02\x00\x10\x00\x00\x00", 12),
               ".npy version 2.0; expected 1.0"},
        BadNpy{"truncated_header", std::string("\x93NUMPY\x01\x00\xff\xff{", 11),
               "truncated .npy header"},
        BadNpy{"no_dict", WithDictionary("import os"), "damaged .npy header"},
        BadNpy{"missing_key", WithDictionary("{'descr': '<i2', 'shape': (1,)}"),
               "damaged .npy header"},
        BadNpy{"twice", WithDictionary("{'descr': '<i2', 'descr': '<i2'}"), "damaged .npy header"},
        BadNpy{"open_string", WithDictionary("{'descr: <i2}"), "damaged .npy header"},
        BadNpy{"tail", WithDictionary("{'descr': '<i2', 'fortran_order': False, 'shape': (1,)} x"),
               "damaged .npy header"},
        BadNpy{"fortran", WithDictionary("{'descr': '<i2', 'fortran_order': True, 'shape': (1,)}"),
               "Fortran order; expected C order"},
        BadNpy{"big_endian",
               WithDictionary("{'descr': '>i2', 'fortran_order': False, 'shape': (1,)}"),
               "element type '>i2'; expected '<i2' (int16) or '<f4' (float32)"},
        BadNpy{"object", WithDictionary("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"),
               "element type '|O'"},
        BadNpy{"negative",
               WithDictionary("{'descr': '<i2', 'fortran_order': False, 'shape': (-1,)}"),
               "damaged .npy header"},
        BadNpy{"five_dimensions",
               WithDictionary("{'descr': '<i2', 'fortran_order': False, 'shape': (1,1,1,1,1)}"),
               "5 dimensions; expected at most 4"},
        BadNpy{"overflow",
               WithDictionary("{'descr': '<i2', 'fortran_order': False, 'shape': (1099511627776, "
                              "1099511627776)}"),
               "expected fewer than 2^40 elements"},
        BadNpy{"long_number",
               WithDictionary("{'descr': '<i2', 'fortran_order': False, 'shape': "
                              "(99999999999999999999999999,)}"),
               "damaged .npy header"},
        BadNpy{"short", FormatNpyHeader(VoxelType::kInt16, {4, 4, 4}) + "voxels",
               "134 bytes; its header announces 256"},
        BadNpy{"long", FormatNpyHeader(VoxelType::kInt16, {1}) + "voxels",
               "134 bytes; its header announces 130"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(NpyTest, MissingFileIsNamed) {
  std::vector<int64_t> shape;
  const auto read = ReadNpyInt16("/nonexistent/x.npy", &shape);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("/nonexistent/x.npy"));
}

}  // namespace
}  // namespace synthvol::imaging
