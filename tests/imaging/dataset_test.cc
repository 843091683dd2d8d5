#include "imaging/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "base/atomic_file.h"
#include "imaging/npy.h"
#include "tests/imaging/temp_dir.h"

namespace synthvol::imaging {
namespace {

using ::testing::HasSubstr;

DatasetManifest Example() {
  DatasetManifest manifest;
  manifest.size = 4;
  manifest.window_rule = "-1024,600";
  manifest.class_names = {"no-nodule", "nodule"};
  manifest.items = {
      {"volumes/00000.npy", "/scans/a.mhd", "ab", "a", Split::kTrain, {1.5, 1.5, 2}, {}, 1},
      {"volumes/00001.npy", "/scans/b.mhd", "cd", "b", Split::kValidation, {1, 1, 1}, {}, {}}};
  manifest.failures = {{"/scans/c.mhd", "a single slice; expected a 3D volume"}};
  return manifest;
}

TEST(ManifestTest, SurvivesWritingAndReading) {
  const TempDir dir;
  ASSERT_TRUE(WriteManifest(dir.path(), Example()).ok());
  const auto read = ReadManifest(dir.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, Example());
  EXPECT_EQ(read->Count(Split::kTrain), 1);
  const auto digest = ManifestDigest(dir.path());
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->size(), 64u);
  ASSERT_TRUE(WriteManifest(dir.path(), *read).ok());
  EXPECT_EQ(*ManifestDigest(dir.path()), *digest) << "equal manifests have equal bytes";
}

TEST(ManifestTest, MissingManifestSaysWhatWasExpected) {
  const TempDir dir;
  const auto read = ReadManifest(dir.path());
  EXPECT_EQ(read.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(read.status().message()),
              HasSubstr("manifest.json: not there; expected a data set that synthvol-prepare "
                        "finished"));
}

struct BadManifest {
  const char* name;
  const char* from;
  const char* to;
  const char* message;
};

class ManifestHostileTest : public ::testing::TestWithParam<BadManifest> {};

TEST_P(ManifestHostileTest, IsRefusedWithAMessage) {
  const std::string good = ToJson(Example());
  const std::string bad = absl::StrReplaceAll(good, {{GetParam().from, GetParam().to}});
  ASSERT_NE(good, bad) << "the row changes nothing";
  const auto read = ParseManifest(bad, "DIR/manifest.json");
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("DIR/manifest.json: "));
  EXPECT_THAT(std::string(read.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ManifestHostileTest,
    ::testing::Values(
        BadManifest{"truncated", "\"failures\": [\n  {", "", "not JSON"},
        BadManifest{"format", "synthvol-dataset", "other", "format: expected synthvol-dataset"},
        BadManifest{"version", "\"version\": 1", "\"version\": 2",
                    "version: expected an integer in 1..1"},
        BadManifest{"no_size", "\"size\"", "\"sice\"", "size: missing"},
        BadManifest{"text_size", "\"size\": 4", "\"size\": \"4\"", "size: expected an integer"},
        BadManifest{"zero_size", "\"size\": 4", "\"size\": 0",
                    "size: expected an integer in 1..4096"},
        BadManifest{"huge_size", "\"size\": 4", "\"size\": 18446744073709551615",
                    "size: expected an integer"},
        BadManifest{"float_size", "\"size\": 4", "\"size\": 4.5", "size: expected an integer"},
        BadManifest{"modality", "\"CT\"", "\"PET\"", "modality: expected \"CT\" or \"MR\""},
        BadManifest{"window", "-1024.0", "1e9", "window: expected low < high"},
        BadManifest{"escape", "volumes/00001.npy", "../../etc/passwd",
                    "items[1]: file: expected a path inside"},
        BadManifest{"absolute", "volumes/00001.npy", "/etc/passwd",
                    "items[1]: file: expected a path inside"},
        BadManifest{"twice", "00001.npy", "00000.npy", "items[1]: file: listed twice"},
        BadManifest{"split", "\"split\": \"train\"", "\"split\": \"test\"",
                    "items[0]: split: expected \"train\""},
        BadManifest{"spacing", "1.5,", "-1.5,", "items[0]: spacing_mm: expected positive numbers"},
        BadManifest{"label", "\"label\": 1", "\"label\": 2",
                    "expected one of the 2 class_names (0 to 1)"},
        BadManifest{"negative_label", "\"label\": 1", "\"label\": -1",
                    "items[0]: label: expected an integer"},
        BadManifest{"items", "\"items\": [", "\"items\": 3, \"x\": [", "items: expected an array"},
        BadManifest{"failure", "\"reason\"", "\"raison\"", "failures: reason: missing"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(ManifestTest, DeeplyNestedTextIsRefused) {
  const auto read = ParseManifest(std::string(200000, '['), "m");
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MappedVolumeTest, MapsWhatWasWritten) {
  const TempDir dir;
  std::vector<int16_t> voxels(8);
  for (size_t i = 0; i < voxels.size(); ++i) voxels[i] = static_cast<int16_t>(i * 1000);
  auto writer = NpyWriter::Create(dir / "v.npy", VoxelType::kInt16, {2, 2, 2});
  ASSERT_TRUE(writer.ok() && writer->Append(voxels).ok() && writer->Commit().ok());
  auto opened = MappedVolume::Open(dir / "v.npy", 2);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const MappedVolume moved = *std::move(opened);
  EXPECT_THAT(moved.voxels(), ::testing::ElementsAreArray(voxels));
  EXPECT_THAT(std::string(MappedVolume::Open(dir / "v.npy", 3).status().message()),
              HasSubstr("v.npy: wrong type or shape; expected int16 [3, 3, 3]"));
}

TEST(MappedVolumeTest, RefusesForeignAndShortFiles) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileAtomically(dir / "empty.npy", "").ok());
  EXPECT_THAT(std::string(MappedVolume::Open(dir / "empty.npy", 2).status().message()),
              HasSubstr("empty or no file"));
  ASSERT_TRUE(
      WriteFileAtomically(dir / "short.npy", FormatNpyHeader(VoxelType::kInt16, {2, 2, 2}) + "abc")
          .ok());
  EXPECT_THAT(std::string(MappedVolume::Open(dir / "short.npy", 2).status().message()),
              HasSubstr("short.npy: 131 bytes; its header announces 144"));
  EXPECT_THAT(std::string(MappedVolume::Open(dir.path(), 2).status().message()),
              HasSubstr(dir.path()));
  EXPECT_EQ(MappedVolume::Open(dir / "none.npy", 2).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace synthvol::imaging
