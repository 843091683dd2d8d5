// Hostile image files: each is refused with one line that names the file and what was expected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "imaging/io/image_file.h"
#include "imaging/io/scan.h"
#include "imaging/nifti.h"
#include "imaging/volume_writer.h"
#include "tests/imaging/temp_dir.h"

namespace synthvol::imaging {
namespace {

using ::testing::HasSubstr;

std::string Meta(const std::string& dimensions, const std::string& size,
                 const std::string& type = "MET_SHORT", const std::string& more = "") {
  return absl::StrCat("ObjectType = Image\nNDims = ", dimensions, "\nDimSize = ", size, "\n", more,
                      "ElementType = ", type, "\nElementDataFile = LOCAL\n");
}

std::string Nrrd(const std::string& fields) {
  return absl::StrCat("NRRD0004\n", fields, "endian: little\nencoding: raw\n\n");
}

std::string Nifti(Geometry geometry) { return *FormatNiftiHeader(geometry, VoxelType::kInt16); }

Geometry Cube(int64_t x, int64_t y, int64_t z) {
  Geometry geometry;
  geometry.size = {x, y, z};
  return geometry;
}

// Changes a 16-bit field of a NIfTI header.
std::string WithShort(std::string header, size_t at, int16_t value) {
  std::memcpy(header.data() + at, &value, sizeof(value));
  return header;
}

struct BadFile {
  const char* name;
  const char* file;
  std::string bytes;
  const char* message;
};

class HostileFileTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(HostileFileTest, IsRefusedWithAMessage) {
  SilenceLibraries();
  const TempDir dir;
  const std::string path = dir / GetParam().file;
  ASSERT_TRUE(WriteFileAtomically(path, GetParam().bytes).ok());
  const auto volume = ReadVolume(path);
  ASSERT_FALSE(volume.ok());
  const std::string message(volume.status().message());
  EXPECT_THAT(message, HasSubstr(path));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

const std::string kVoxels(4 * 4 * 4 * 2, '\x01');
constexpr size_t kDimAt = 40;

INSTANTIATE_TEST_SUITE_P(
    Table, HostileFileTest,
    ::testing::Values(
        BadFile{"empty", "a.mha", "", "empty file"},
        BadFile{"meta_garbage", "a.mha", "this is no image at all", "cannot read its header"},
        BadFile{"meta_2d", "a.mha", Meta("2", "4 4") + kVoxels, "2D; expected a 3D volume"},
        BadFile{"meta_4d", "a.mha", Meta("4", "4 4 4 3") + kVoxels,
                "4 dimensions; expected a 3D volume"},
        BadFile{"meta_single_slice", "a.mha", Meta("3", "4 4 1") + kVoxels,
                "a single slice; expected a 3D volume"},
        BadFile{"meta_zero", "a.mha", Meta("3", "4 0 4") + kVoxels, "a.mha"},
        BadFile{"meta_negative", "a.mha", Meta("3", "4 -4 4") + kVoxels, "a.mha"},
        BadFile{"meta_truncated", "a.mha", Meta("3", "4 4 4") + kVoxels.substr(0, 50),
                "truncated: 50 bytes of voxels in a.mha where 128 are announced"},
        BadFile{"meta_huge", "a.mha", Meta("3", "100000 100000 100000") + kVoxels,
                "too large; expected at most 1073741824 voxels"},
        BadFile{"meta_bomb", "a.mha", Meta("3", "1000 1000 1000") + kVoxels,
                "truncated: its header announces 2000000000 bytes"},
        BadFile{
            "meta_colour", "a.mha",
            Meta("3", "4 4 4", "MET_UCHAR", "ElementNumberOfChannels = 3\n") + kVoxels + kVoxels,
            "3 components a voxel; expected one"},
        BadFile{"meta_spacing", "a.mha",
                Meta("3", "4 4 4", "MET_SHORT", "ElementSpacing = 1 0 1\n") + kVoxels, "a.mha"},
        BadFile{"meta_oblique", "a.mha",
                Meta("3", "4 4 4", "MET_SHORT",
                     "TransformMatrix = 1 0 0 0 0.9848078 0.1736482 0 -0.1736482 0.9848078\n") +
                    kVoxels,
                "oblique: an axis is 10.0 degrees off"},
        BadFile{"mhd_without_raw", "a.mhd",
                "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = "
                "MET_SHORT\nElementDataFile = gone.raw\n",
                "cannot read its voxels"},
        BadFile{"nifti_garbage", "a.nii", std::string(400, 'x'), "cannot read its header"},
        BadFile{"nifti_short_header", "a.nii", Nifti(Cube(4, 4, 4)).substr(0, 100),
                "cannot read its header"},
        BadFile{"nifti_no_gzip", "a.nii.gz", "\x1f\x8b no gzip", "cannot read its header"},
        BadFile{"nifti_truncated", "a.nii", Nifti(Cube(4, 4, 4)) + kVoxels.substr(0, 50),
                "truncated: fewer voxels than announced"},
        BadFile{"nifti_single_slice", "a.nii", Nifti(Cube(4, 4, 1)) + kVoxels, "a single slice"},
        BadFile{"nifti_2d", "a.nii", WithShort(Nifti(Cube(4, 4, 4)), kDimAt, 2) + kVoxels,
                "2D; expected a 3D volume"},
        BadFile{"nifti_4d", "a.nii",
                WithShort(WithShort(Nifti(Cube(4, 4, 4)), kDimAt, 4), kDimAt + 8, 5) + kVoxels,
                "4 dimensions; expected a 3D volume"},
        BadFile{"nifti_huge", "a.nii", Nifti(Cube(32767, 32767, 32767)) + kVoxels, "too large"},
        BadFile{"nifti_bomb", "a.nii", Nifti(Cube(1000, 1000, 1000)) + kVoxels,
                "truncated: its header announces 2000000000 bytes"},
        BadFile{"nrrd_garbage", "a.nrrd", "NRRD0004\nnonsense\n\n", "a.nrrd"},
        BadFile{"nrrd_2d", "a.nrrd", Nrrd("type: short\ndimension: 2\nsizes: 4 4\n") + kVoxels,
                "2D; expected a 3D volume"},
        BadFile{"nrrd_truncated", "a.nrrd",
                Nrrd("type: short\ndimension: 3\nsizes: 4 4 4\nspacings: 1 1 1\n") +
                    kVoxels.substr(0, 50),
                "cannot read its voxels"},
        BadFile{
            "nrrd_bomb", "a.nrrd",
            Nrrd("type: short\ndimension: 3\nsizes: 1000 1000 1000\nspacings: 1 1 1\n") + kVoxels,
            "truncated: its header announces"},
        BadFile{"dicom_garbage", "a.dcm", std::string(128, '\0') + "DICM" + std::string(40, '\xff'),
                "a.dcm"},
        BadFile{"dicom_no_dicom", "a.dcm", "hello", "a.dcm"},
        BadFile{"foreign", "a.jpg", "\xff\xd8\xff",
                "unknown format; expected .mhd, .mha, .nii, .nii.gz, .nrrd, .nhdr or DICOM"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(ReaderTest, EveryTruncationIsNoticed) {
  SilenceLibraries();
  const TempDir dir;
  Volume volume{Cube(9, 9, 9), {}};
  for (int i = 0; i < 729; ++i) volume.voxels.push_back(static_cast<int16_t>(i * i % 977));
  for (const char* name : {"a.nii", "a.nii.gz", "a.raw"}) {
    ASSERT_TRUE(WriteVolume(dir / name, *FormatFromPath(name), volume).ok());
    const std::string whole = *ReadFile(dir / name);
    const std::string read = name == std::string("a.raw") ? dir / "a.mhd" : dir / name;
    ASSERT_TRUE(ReadVolume(read).ok());
    for (const size_t missing : {size_t{20}, whole.size() / 2}) {
      ASSERT_TRUE(WriteFileAtomically(dir / name, whole.substr(0, whole.size() - missing)).ok());
      EXPECT_FALSE(ReadVolume(read).ok()) << name << " short of " << missing;
    }
  }
}

TEST(ReaderTest, MissingAndEmptyPathsAreNamed) {
  const TempDir dir;
  EXPECT_THAT(std::string(ReadVolume(dir / "none.nii").status().message()),
              HasSubstr("none.nii: no such file or folder"));
  EXPECT_THAT(std::string(ReadVolume(dir.path()).status().message()), HasSubstr("holds no volume"));
}

TEST(ReaderTest, SeveralVolumesInAFolderAreListed) {
  const TempDir dir;
  for (const char* name : {"a.nii", "b.nii.gz"}) {
    FloatVolume volume{Cube(4, 4, 4), std::vector<float>(64, 1.0F)};
    ASSERT_TRUE(WriteVolume(dir / name, *FormatFromPath(name), volume).ok());
  }
  const std::string message(ReadVolume(dir.path()).status().message());
  EXPECT_THAT(message, HasSubstr("holds 2 volumes; expected one: "));
  EXPECT_THAT(message, HasSubstr("a.nii"));
  EXPECT_THAT(message, HasSubstr("b.nii.gz"));
}

TEST(ReaderTest, OurOwnFilesComeBack) {
  const TempDir dir;
  FloatVolume volume{Cube(4, 3, 2), {}};
  volume.geometry.spacing = {0.5, 0.75, 2.0};
  volume.geometry.origin = {-3.0, 4.0, -500.0};
  for (int i = 0; i < 24; ++i) volume.voxels.push_back(static_cast<float>(i) - 1000.25F);
  volume.voxels[5] = NAN;
  for (const char* name : {"a.nii", "a.nii.gz", "a.mhd"}) {
    ASSERT_TRUE(WriteVolume(dir / name, *FormatFromPath(name), volume).ok());
    const auto read = ReadVolume(dir / name);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->geometry, volume.geometry) << name;
    for (size_t i = 0; i < 24; ++i) {
      if (i == 5) {
        EXPECT_TRUE(std::isnan(read->voxels[i])) << name;
      } else {
        EXPECT_EQ(read->voxels[i], volume.voxels[i]) << name;
      }
    }
  }
}

TEST(ReaderTest, BothFilesOfAPairCountForTheDigest) {
  const TempDir dir;
  FloatVolume volume{Cube(4, 4, 4), std::vector<float>(64, 1.0F)};
  ASSERT_TRUE(WriteVolume(dir / "a.raw", VolumeFormat::kRaw, volume).ok());
  EXPECT_THAT(FilesOfVolume(dir / "a.mhd"), ::testing::ElementsAre(dir / "a.mhd", dir / "a.raw"));
  const auto before = ScanDigest({dir / "a.mhd", "", "", {}});
  ASSERT_TRUE(WriteFileAtomically(dir / "a.raw", std::string(256, 'x')).ok());
  const auto after = ScanDigest({dir / "a.mhd", "", "", {}});
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_NE(*before, *after);
}

}  // namespace
}  // namespace synthvol::imaging
