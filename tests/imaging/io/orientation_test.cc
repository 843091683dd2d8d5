#include "imaging/io/orientation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace synthvol::imaging {
namespace {

using ::testing::HasSubstr;

// A volume whose voxels encode the patient position they lie at.
FloatVolume Located(const std::array<double, 9>& direction) {
  FloatVolume volume;
  volume.geometry.size = {2, 3, 4};
  volume.geometry.spacing = {1.0, 2.0, 3.0};
  volume.geometry.origin = {10.0, 20.0, 30.0};
  volume.geometry.direction = direction;
  for (int64_t z = 0; z < 4; ++z) {
    for (int64_t y = 0; y < 3; ++y) {
      for (int64_t x = 0; x < 2; ++x) {
        const auto p = volume.geometry.Position(static_cast<double>(x), static_cast<double>(y),
                                                static_cast<double>(z));
        volume.voxels.push_back(static_cast<float>(p[0] * 10000 + p[1] * 100 + p[2]));
      }
    }
  }
  return volume;
}

TEST(OrientationTest, EveryPermutationAndFlipKeepsVoxelsInPlace) {
  const std::array<std::array<size_t, 3>, 6> orders{
      {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}};
  for (const auto& order : orders) {
    for (int signs = 0; signs < 8; ++signs) {
      std::array<double, 9> direction{};
      for (size_t row = 0; row < 3; ++row) {
        direction[row * 3 + order[row]] = ((signs >> row) & 1) != 0 ? -1.0 : 1.0;
      }
      const auto axial = ToAxial(Located(direction), "scan");
      ASSERT_TRUE(axial.ok()) << axial.status();
      const Geometry& g = axial->geometry;
      EXPECT_EQ(g.direction, Geometry().direction);
      for (int64_t z = 0; z < g.size[2]; ++z) {
        for (int64_t y = 0; y < g.size[1]; ++y) {
          for (int64_t x = 0; x < g.size[0]; ++x) {
            const auto p =
                g.Position(static_cast<double>(x), static_cast<double>(y), static_cast<double>(z));
            EXPECT_EQ(axial->At(x, y, z), static_cast<float>(p[0] * 10000 + p[1] * 100 + p[2]));
          }
        }
      }
    }
  }
}

std::array<double, 9> TurnedAboutX(double degrees) {
  const double a = degrees * std::numbers::pi / 180.0;
  return {1, 0, 0, 0, std::cos(a), -std::sin(a), 0, std::sin(a), std::cos(a)};
}

TEST(OrientationTest, RoundingIsForgivenAndTiltIsNamed) {
  EXPECT_TRUE(ToAxial(Located(TurnedAboutX(0.1)), "scan").ok());
  const auto tilted = ToAxial(Located(TurnedAboutX(7.5)), "/x/scan.nii");
  EXPECT_EQ(tilted.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tilted.status().message()),
              HasSubstr("/x/scan.nii: oblique: an axis is 7.5 degrees off"));
}

TEST(OrientationTest, RefusesDirectionsThatAreNoFrame) {
  for (const std::array<double, 9>& direction :
       {std::array<double, 9>{}, std::array<double, 9>{1, 1, 0, 0, 0, 0, 0, 0, 1},
        std::array<double, 9>{NAN, 0, 0, 0, 1, 0, 0, 0, 1},
        std::array<double, 9>{2, 0, 0, 0, 1, 0, 0, 0, 1}}) {
    FloatVolume volume = Located({1, 0, 0, 0, 1, 0, 0, 0, 1});
    volume.geometry.direction = direction;
    EXPECT_THAT(std::string(ToAxial(volume, "scan").status().message()),
                HasSubstr("scan: axis directions are no orthogonal frame"));
  }
}

}  // namespace
}  // namespace synthvol::imaging
