#include "imaging/phantom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace synthvol::imaging {
namespace {

Phantom Make(int64_t size, uint64_t seed) {
  auto phantom = MakePhantom({size, seed, std::nullopt});
  EXPECT_TRUE(phantom.ok()) << phantom.status();
  return *std::move(phantom);
}

// Share of voxels whose HU are in [low, high).
double Share(const Volume& volume, int low, int high) {
  const auto count = std::count_if(volume.voxels.begin(), volume.voxels.end(),
                                   [&](int16_t hu) { return hu >= low && hu < high; });
  return static_cast<double>(count) / static_cast<double>(volume.voxels.size());
}

TEST(PhantomTest, IsAFunctionOfItsSeed) {
  const Phantom first = Make(32, 5);
  EXPECT_EQ(first.volume.voxels, Make(32, 5).volume.voxels);
  EXPECT_NE(first.volume.voxels, Make(32, 7).volume.voxels);
}

TEST(PhantomTest, HasTheTissuesOfAChest) {
  for (const uint64_t seed : {0, 1, 2, 3}) {
    const Phantom phantom = Make(48, seed);
    const Volume& volume = phantom.volume;
    EXPECT_EQ(volume.geometry.size, (std::array<int64_t, 3>{48, 48, 48}));
    for (const double spacing : volume.geometry.spacing) {
      EXPECT_GT(spacing * 48, 250.0);
      EXPECT_LT(spacing * 48, 480.0);
    }
    EXPECT_GT(Share(volume, -1024, -950), 0.15) << "air";
    EXPECT_GT(Share(volume, -950, -700), 0.06) << "lung";
    EXPECT_LT(Share(volume, -950, -700), 0.30) << "lung";
    EXPECT_GT(Share(volume, -200, -40), 0.05) << "fat";
    EXPECT_GT(Share(volume, -10, 130), 0.15) << "soft tissue";
    EXPECT_GT(Share(volume, 200, 3072), 0.005) << "bone";
    // Both lungs: air-like voxels right and left of the middle, half-way up.
    const int64_t z = 30;
    for (const int64_t x : {15, 33}) {
      int lung = 0;
      for (int64_t y = 0; y < 48; ++y) lung += std::abs(volume.At(x, y, z) + 850) < 120 ? 1 : 0;
      EXPECT_GT(lung, 5) << "seed " << seed << " x " << x;
    }
  }
}

TEST(PhantomTest, OnlyTheNoduleClassHasNodulesAndTheyAreWhereTheySay) {
  for (const uint64_t seed : {0, 1, 3, 5}) {
    const auto with = MakePhantom({64, seed, PhantomClass::kNodule});
    const auto without = MakePhantom({64, seed, PhantomClass::kNoNodule});
    ASSERT_TRUE(with.ok() && without.ok());
    EXPECT_TRUE(without->nodules.empty());
    ASSERT_GE(with->nodules.size(), 1u);
    ASSERT_LE(with->nodules.size(), 3u);
    const Geometry& g = with->volume.geometry;
    for (const Nodule& nodule : with->nodules) {
      std::array<int64_t, 3> at{};
      for (size_t axis = 0; axis < 3; ++axis) {
        at[axis] = std::lround((nodule.centre[axis] - g.origin[axis]) / g.spacing[axis]);
        ASSERT_GE(at[axis], 0);
        ASSERT_LT(at[axis], g.size[axis]);
      }
      EXPECT_GE(nodule.radius_mm, 4.0);
      EXPECT_GT(with->volume.At(at[0], at[1], at[2]), -300) << "seed " << seed;
    }
    // The same patient otherwise: voxels differ near nodules only.
    size_t different = 0;
    for (size_t i = 0; i < with->volume.voxels.size(); ++i) {
      different += with->volume.voxels[i] != without->volume.voxels[i] ? 1 : 0;
    }
    EXPECT_GT(different, 0u);
    EXPECT_LT(different, with->volume.voxels.size() / 50);
  }
}

TEST(PhantomTest, ClassesAlternateWithTheSeed) {
  EXPECT_EQ(Make(16, 0).phantom_class, PhantomClass::kNoNodule);
  EXPECT_EQ(Make(16, 1).phantom_class, PhantomClass::kNodule);
}

TEST(PhantomTest, RefusesSizesOutOfRange) {
  for (const int64_t size : {-1, 0, 15, 513}) {
    EXPECT_EQ(MakePhantom({size, 0, {}}).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace synthvol::imaging
