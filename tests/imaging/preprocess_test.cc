#include "imaging/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "imaging/dataset.h"

namespace synthvol::imaging {
namespace {

using ::testing::HasSubstr;

// The definition, voxel by voxel: a triangle of the shrinking factor's width, normalised.
std::vector<double> PlainResize(const FloatVolume& scan, const Window& window, int64_t n) {
  const auto weight = [n](int64_t input, int64_t i, int64_t j) {
    const double scale = static_cast<double>(input) / static_cast<double>(n);
    const double support = std::max(1.0, scale);
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    return std::max(0.0, 1.0 - std::abs(static_cast<double>(j) + 0.5 - centre) / support);
  };
  std::vector<double> cube;
  const auto& [nx, ny, nz] = scan.geometry.size;
  for (int64_t k = 0; k < n * n * n; ++k) {
    double sum = 0.0;
    double weights = 0.0;
    for (int64_t z = 0; z < nz; ++z) {
      for (int64_t y = 0; y < ny; ++y) {
        for (int64_t x = 0; x < nx; ++x) {
          const double w =
              weight(nz, k / (n * n), z) * weight(ny, k / n % n, y) * weight(nx, k % n, x);
          sum += w * static_cast<double>(window.ToUnit(static_cast<double>(scan.At(x, y, z))));
          weights += w;
        }
      }
    }
    cube.push_back(sum / weights);
  }
  return cube;
}

FloatVolume Pattern(std::array<int64_t, 3> size) {
  FloatVolume scan;
  scan.geometry.size = size;
  scan.geometry.spacing = {0.5, 0.75, 2.0};
  for (int64_t i = 0; i < scan.geometry.VoxelCount(); ++i) {
    scan.voxels.push_back(static_cast<float>((i * 7919) % 2001 - 1100));
  }
  return scan;
}

class ResizeTest : public ::testing::TestWithParam<std::array<int64_t, 3>> {};

TEST_P(ResizeTest, EqualsThePlainDefinition) {
  constexpr int64_t kSize = 5;
  const FloatVolume scan = Pattern(GetParam());
  const auto prepared = Preprocess(scan, {kSize, {}});
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const std::vector<double> expected = PlainResize(scan, {}, kSize);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(prepared->voxels[i]) / kUnitScale, expected[i], 2e-5) << i;
  }
  for (size_t axis = 0; axis < 3; ++axis) {
    EXPECT_DOUBLE_EQ(prepared->spacing[axis],
                     scan.geometry.spacing[axis] * static_cast<double>(GetParam()[axis]) / kSize);
  }
}

INSTANTIATE_TEST_SUITE_P(DownSameAndUp, ResizeTest,
                         ::testing::Values(std::array<int64_t, 3>{12, 9, 17},
                                           std::array<int64_t, 3>{5, 5, 5},
                                           std::array<int64_t, 3>{3, 2, 4}));

TEST(PreprocessTest, TrimsBlankSlicesAtBothEndsOnly) {
  FloatVolume scan;
  scan.geometry.size = {2, 2, 7};
  scan.voxels.assign(28, -2048.0F);
  scan.voxels[2 * 4] = 40.0F;
  scan.voxels[5 * 4] = 40.0F;
  scan.voxels[6 * 4] = -1024.0F;
  const auto prepared = Preprocess(scan, {2, {}});
  ASSERT_TRUE(prepared.ok());
  EXPECT_EQ(prepared->kept_slices, (std::array<int64_t, 2>{2, 6}));
  EXPECT_DOUBLE_EQ(prepared->spacing[2], 2.0);
}

TEST(PreprocessTest, NanAndPaddingBecomeAir) {
  FloatVolume scan;
  scan.geometry.size = {2, 2, 2};
  scan.voxels = {std::numeric_limits<float>::quiet_NaN(), -3024.0F, -1024.0F, 600.0F,
                 std::numeric_limits<float>::infinity(),  3071.0F,  -212.0F,  -1024.0F};
  const auto prepared = Preprocess(scan, {2, {}});
  ASSERT_TRUE(prepared.ok());
  EXPECT_THAT(prepared->voxels,
              ::testing::ElementsAre(-32767, -32767, -32767, 32767, 32767, 32767, 0, -32767));
}

TEST(PreprocessTest, RefusesNothingButAir) {
  FloatVolume scan;
  scan.geometry.size = {2, 2, 2};
  scan.voxels.assign(8, -1024.0F);
  EXPECT_THAT(std::string(Preprocess(scan, {2, {}}).status().message()),
              HasSubstr("every voxel is at or below the window's low end (-1024)"));
}

TEST(WindowRuleTest, ParsesAndPrints) {
  for (const char* text : {"-1024,600", "percentile:0.5,99.5", "0,1000"}) {
    const auto rule = ParseWindowRule(text);
    ASSERT_TRUE(rule.ok()) << rule.status();
    EXPECT_EQ(ToString(*rule), text);
  }
  for (const char* text : {"", "5", "600,-1024", "1,2,3", "a,b", "nan,1", "percentile:-1,50",
                           "percentile:5,101", "-40000,0", "inf,inf"}) {
    const auto rule = ParseWindowRule(text);
    EXPECT_EQ(rule.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(rule.status().message()), HasSubstr("expected LOW,HIGH"));
  }
}

TEST(WindowRuleTest, PercentilesIgnoreWhatIsNotFinite) {
  std::vector<float> voxels;
  for (int i = 0; i <= 1000; ++i) voxels.push_back(static_cast<float>(1000 - i));
  voxels.push_back(std::numeric_limits<float>::quiet_NaN());
  voxels.push_back(std::numeric_limits<float>::infinity());
  const WindowRule rule{WindowRule::Kind::kPercentile, 1.0, 99.0};
  const auto window = ResolveWindow(rule, voxels);
  ASSERT_TRUE(window.ok());
  EXPECT_EQ(*window, (Window{10.0, 990.0}));
  EXPECT_THAT(std::string(ResolveWindow(rule, std::vector<float>(9, 3.0F)).status().message()),
              HasSubstr("a constant image"));
  EXPECT_THAT(std::string(ResolveWindow(rule, {voxels.data() + 1001, 2}).status().message()),
              HasSubstr("no finite voxel"));
}

}  // namespace
}  // namespace synthvol::imaging
