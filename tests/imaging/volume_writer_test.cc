#include "imaging/volume_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "imaging/montage.h"
#include "imaging/nifti.h"
#include "tests/imaging/temp_dir.h"

namespace synthvol::imaging {
namespace {

using ::testing::HasSubstr;

Volume Ramp() {
  Volume volume;
  volume.geometry.size = {4, 3, 2};
  volume.geometry.spacing = {0.5, 0.75, 2.0};
  volume.geometry.origin = {-1.0, 2.0, 3.0};
  for (int i = 0; i < 24; ++i) volume.voxels.push_back(static_cast<int16_t>(i * 100 - 1000));
  return volume;
}

class FormatTest : public ::testing::TestWithParam<VolumeFormat> {};

TEST_P(FormatTest, PiecesMakeTheSameFileAsTheWhole) {
  const TempDir dir;
  const Volume volume = Ramp();
  const std::string extension = Extension(GetParam());
  ASSERT_TRUE(WriteVolume(dir / ("whole" + extension), GetParam(), volume).ok());
  auto writer = VolumeWriter::Create(dir / ("pieces" + extension), GetParam(), volume.geometry,
                                     VoxelType::kInt16);
  ASSERT_TRUE(writer.ok()) << writer.status();
  const auto voxels = absl::MakeConstSpan(volume.voxels);
  for (size_t i = 0; i < voxels.size(); i += 5) {
    ASSERT_TRUE((*writer)->AppendSlices(voxels.subspan(i, 5)).ok());
  }
  for (const std::string& path : (*writer)->paths()) EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE((*writer)->Commit().ok());
  EXPECT_EQ((*writer)->voxels_written(), 24);
  for (const std::string& path : (*writer)->paths()) EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(*ReadFile(dir / ("whole" + extension)), *ReadFile(dir / ("pieces" + extension)));
}

TEST_P(FormatTest, UnfinishedLeavesNothing) {
  const TempDir dir;
  {
    auto writer = VolumeWriter::Create(dir / (std::string("x") + Extension(GetParam())), GetParam(),
                                       Ramp().geometry, VoxelType::kInt16);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->AppendSlices(std::vector<int16_t>(23)).ok());
    EXPECT_EQ((*writer)->AppendSlices(std::vector<int16_t>(2)).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ((*writer)->AppendSlices(std::vector<float>(1)).code(),
              absl::StatusCode::kInvalidArgument);
    const absl::Status status = (*writer)->Commit();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("1 voxels are missing"));
  }
  EXPECT_EQ(dir.EntryCount(), 0);
}

TEST_P(FormatTest, UnwritableFolderIsNamed) {
  const std::string path = std::string("/nonexistent/x") + Extension(GetParam());
  absl::Status status = WriteVolume(path, GetParam(), Ramp());
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/x"));
}

TEST_P(FormatTest, ExtensionIsRecognised) {
  EXPECT_EQ(FormatFromPath(std::string("a/b.c") + Extension(GetParam())), GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, FormatTest,
                         ::testing::Values(VolumeFormat::kNpy, VolumeFormat::kNifti,
                                           VolumeFormat::kNiftiGz, VolumeFormat::kRaw,
                                           VolumeFormat::kPng));

TEST(VolumeWriterTest, RawComesWithAMetaImageHeader) {
  const TempDir dir;
  ASSERT_TRUE(WriteVolume(dir / "v.raw", VolumeFormat::kRaw, Ramp()).ok());
  const std::string header = *ReadFile(dir / "v.mhd");
  for (const char* line :
       {"DimSize = 4 3 2\n", "ElementSpacing = 0.5 0.75 2\n", "Offset = -1 2 3\n",
        "ElementType = MET_SHORT\n", "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"}) {
    EXPECT_THAT(header, HasSubstr(line));
  }
  EXPECT_TRUE(header.ends_with("ElementDataFile = v.raw\n"));
  EXPECT_EQ(ReadFile(dir / "v.raw")->size(), 48u);
}

TEST(VolumeWriterTest, RefusesGeometryThatIsNone) {
  Geometry flat;
  flat.size = {4, 0, 2};
  EXPECT_THAT(std::string(VolumeWriter::Create("x.npy", VolumeFormat::kNpy, flat, VoxelType::kInt16)
                              .status()
                              .message()),
              HasSubstr("x.npy: cannot write 4x0x2 voxels"));
  Geometry large;
  large.size = {40000, 1, 1};
  EXPECT_THAT(
      std::string(VolumeWriter::Create("x.nii", VolumeFormat::kNifti, large, VoxelType::kInt16)
                      .status()
                      .message()),
      HasSubstr("x.nii: NIfTI holds at most 32767 voxels along an axis"));
}

// nifti1.h's method 2, the other way round.
std::array<double, 9> FromQuaternion(const NiftiRotation& q) {
  const auto& [b, c, d] = q.bcd;
  const double a = std::sqrt(std::max(0.0, 1.0 - b * b - c * c - d * d));
  std::array<double, 9> r{
      a * a + b * b - c * c - d * d, 2 * (b * c - a * d),           2 * (b * d + a * c),
      2 * (b * c + a * d),           a * a + c * c - b * b - d * d, 2 * (c * d - a * b),
      2 * (b * d - a * c),           2 * (c * d + a * b),           a * a + d * d - c * c - b * b};
  for (const size_t i : {2, 5, 8}) r[i] *= q.qfac;
  return r;
}

TEST(NiftiTest, QuaternionsRebuildEveryAxisArrangement) {
  const std::array<std::array<size_t, 3>, 6> orders{
      {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}};
  for (const auto& order : orders) {
    for (int signs = 0; signs < 8; ++signs) {
      std::array<double, 9> matrix{};
      for (size_t row = 0; row < 3; ++row) {
        matrix[row * 3 + order[row]] = ((signs >> row) & 1) != 0 ? -1.0 : 1.0;
      }
      const std::array<double, 9> rebuilt = FromQuaternion(RotationToQuaternion(matrix));
      for (size_t i = 0; i < 9; ++i) EXPECT_NEAR(rebuilt[i], matrix[i], 1e-12);
    }
  }
}

TEST(MontageTest, ShowsPlanesInPlaceAndTrueToScale) {
  Volume volume;
  volume.geometry.size = {8, 8, 4};
  volume.geometry.spacing = {1.0, 1.0, 2.0};
  volume.voxels.assign(256, -1024);
  // The left half is bright below, the top slice brighter.
  for (int64_t z = 0; z < 4; ++z) {
    for (int64_t y = 0; y < 8; ++y) {
      for (int64_t x = 4; x < 8; ++x) volume.At(x, y, z) = z == 3 ? 600 : -212;
    }
  }
  const MidPlanes planes = MidPlanesOf(volume);
  const GrayImage image = DrawMontage({&planes, 1}, Window(), 64);
  ASSERT_EQ(image.width, 192);
  ASSERT_EQ(image.height, 64);
  const auto at = [&](int x, int y) { return image.pixels[static_cast<size_t>(y * 192 + x)]; };
  EXPECT_EQ(at(8, 32), 0) << "axial: the patient's right is on the left";
  EXPECT_NEAR(at(56, 32), 128, 1) << "axial: the patient's left";
  EXPECT_EQ(at(64 + 56, 4), 255) << "coronal: the head is up";
  EXPECT_NEAR(at(64 + 56, 60), 128, 1);
  EXPECT_EQ(at(128 + 30, 4), 255) << "sagittal: through x = 4, bright";
  Volume flat = volume;
  flat.geometry.spacing = {1.0, 1.0, 1.0};
  const MidPlanes flat_planes = MidPlanesOf(flat);
  const GrayImage shorter = DrawMontage({&flat_planes, 1}, Window(), 64);
  EXPECT_EQ(shorter.pixels[static_cast<size_t>(8 * 192 + 64 + 56)], 0) << "half as high: margin";
  EXPECT_EQ(shorter.pixels[static_cast<size_t>(18 * 192 + 64 + 56)], 255);
}

}  // namespace
}  // namespace synthvol::imaging
