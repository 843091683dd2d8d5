// Augmented rows beside the formula, voxel by voxel.
#include "model/train/augmentation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "imaging/dataset.h"

namespace synthvol::model {
namespace {

constexpr int64_t kSide = 7;

std::vector<int16_t> Volume() {
  std::vector<int16_t> volume(kSide * kSide * kSide);
  for (size_t i = 0; i < volume.size(); ++i) {
    volume[i] = static_cast<int16_t>(static_cast<int64_t>(i * 7919 % 65535) - 32767);
  }
  return volume;
}

float Expected(const std::vector<int16_t>& volume, const DrawnAugmentation& drawn, int64_t z,
               int64_t y, int64_t x) {
  const auto clamp = [](int64_t v) { return std::clamp<int64_t>(v, 0, kSide - 1); };
  const int64_t from = (clamp(z + drawn.shift[0]) * kSide + clamp(y + drawn.shift[1])) * kSide +
                       clamp((drawn.flip ? kSide - 1 - x : x) + drawn.shift[2]);
  const float value =
      static_cast<float>(volume[static_cast<size_t>(from)]) * (1.0F / imaging::kUnitScale);
  return std::clamp(value * drawn.gain + drawn.offset * (1.0F - value * value), -1.0F, 1.0F);
}

TEST(Augmentation, FollowsTheFormulaInEveryDirection) {
  const auto volume = Volume();
  for (const bool flip : {false, true}) {
    // Within the volume, at its edge and beyond it.
    for (const int64_t shift : {-9, -7, -3, 0, 2, 6, 7, 8}) {
      const DrawnAugmentation drawn{flip, {shift, -shift, shift}, 1.1F, -0.2F, true};
      std::vector<float> out(volume.size());
      // In two pieces, as threads take them.
      AugmentSlices(volume, kSide, drawn, 0, 3, out.data());
      AugmentSlices(volume, kSide, drawn, 3, kSide, out.data() + 3 * kSide * kSide);
      for (int64_t i = 0; i < kSide * kSide * kSide; ++i) {
        ASSERT_EQ(out[static_cast<size_t>(i)],
                  Expected(volume, drawn, i / (kSide * kSide), i / kSide % kSide, i % kSide))
            << "voxel " << i << ", flip " << flip << ", shift " << shift;
      }
    }
  }
}

TEST(Augmentation, WithoutAnyScalesAlone) {
  const auto volume = Volume();
  std::vector<float> out(volume.size());
  AugmentSlices(volume, kSide, DrawAugmentation({}, 1, 2), 0, kSide, out.data());
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_EQ(out[i], static_cast<float>(volume[i]) * (1.0F / imaging::kUnitScale));
  }
}

TEST(Augmentation, DrawsTheSameForTheSamePlaceAndStaysInRange) {
  const Augmentation wanted{/*flip=*/true, /*shift=*/3, /*jitter=*/0.1};
  int flips = 0;
  for (uint64_t index = 0; index < 200; ++index) {
    const DrawnAugmentation drawn = DrawAugmentation(wanted, 5, index);
    EXPECT_EQ(drawn.shift, DrawAugmentation(wanted, 5, index).shift);
    for (const int64_t shift : drawn.shift) EXPECT_LE(std::abs(shift), 3);
    EXPECT_NEAR(drawn.gain, 1.0F, 0.1F);
    EXPECT_NEAR(drawn.offset, 0.0F, 0.1F);
    flips += drawn.flip ? 1 : 0;
  }
  EXPECT_NEAR(flips, 100, 35);
}

}  // namespace
}  // namespace synthvol::model
