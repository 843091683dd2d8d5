#include "model/eval/gate/plausibility.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace synthvol::model {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSize = 16;
const imaging::Window kWindow{-1024, 600};

// A body (soft tissue, a little bone) with lungs in air; `shift` varies it a little.
std::vector<int16_t> Thorax(int shift) {
  std::vector<int16_t> voxels;
  for (int64_t i = 0; i < kSize * kSize * kSize; ++i) {
    const int64_t x = i % kSize;
    const int64_t y = i / kSize % kSize;
    const bool body = x >= 2 && x < 14 && y >= 3 && y < 13;
    const bool lung = body && x >= 4 && x < 7 + shift && y >= 5 && y < 11;
    const bool bone = body && x == 8 && y == 11;
    voxels.push_back(static_cast<int16_t>(bone ? 400 : lung ? -820 : body ? 40 + shift : -1000));
  }
  return voxels;
}

VolumeFigures Measure(const std::vector<int16_t>& voxels) {
  PlausibilityMeter meter(kSize, kWindow, DefaultRegions("CT", kWindow));
  meter.Append(voxels);
  return meter.Finish();
}

PlausibilityRanges TrainedRanges() {
  return PlausibilityRanges::Of({Measure(Thorax(0)), Measure(Thorax(1)), Measure(Thorax(2))},
                                kWindow, DefaultRegions("CT", kWindow))
      .value();
}

testing::Matcher<std::vector<PlausibilityViolation>> Names(const std::string& figure) {
  return Contains(Field(&PlausibilityViolation::figure, figure));
}

TEST(PlausibilityMeter, CountsRegionsExactly) {
  const VolumeFigures figures = Measure(Thorax(0));
  EXPECT_DOUBLE_EQ(figures.at("fraction.air"), (256 - 120) / 256.0);
  EXPECT_DOUBLE_EQ(figures.at("fraction.lung"), 18 / 256.0);
  EXPECT_DOUBLE_EQ(figures.at("fraction.bone"), 1 / 256.0);
  EXPECT_DOUBLE_EQ(figures.at("fraction.soft_tissue"), 101 / 256.0);
  EXPECT_NEAR(figures.at("mean"), (-1000.0 * 136 - 820 * 18 + 400 + 40 * 101) / 256, 1e-9);
  EXPECT_EQ(figures.at("blank_slices"), 0);
}

TEST(PlausibilityMeter, MeasuresTheSameInPieces) {
  const std::vector<int16_t> voxels = Thorax(1);
  PlausibilityMeter meter(kSize, kWindow, DefaultRegions("CT", kWindow));
  for (size_t begin = 0; begin < voxels.size(); begin += 37) {
    meter.Append(absl::MakeConstSpan(voxels).subspan(begin, 37));
  }
  EXPECT_EQ(meter.Finish(), Measure(voxels));
}

TEST(PlausibilityMeter, FindsBlankAndSaturatedSlices) {
  std::vector<int16_t> voxels = Thorax(0);
  std::fill_n(voxels.begin(), 4 * kSize * kSize, int16_t{100});
  std::fill_n(voxels.begin() + 4 * kSize * kSize, 2 * kSize * kSize, int16_t{600});
  const VolumeFigures figures = Measure(voxels);
  EXPECT_DOUBLE_EQ(figures.at("blank_slices"), 6.0 / kSize);
  EXPECT_DOUBLE_EQ(figures.at("saturated_slices"), 2.0 / kSize);
}

TEST(PlausibilityRanges, AcceptTrainingVolumesAndRefuseEmptyMeters) {
  const PlausibilityRanges ranges = TrainedRanges();
  for (int shift = 0; shift < 3; ++shift) {
    EXPECT_THAT(ranges.Check(Measure(Thorax(shift))), IsEmpty());
  }
  EXPECT_EQ(ranges.Check(ranges.MakeMeter(kSize).Finish()).size(), ranges.ranges().size());
}

TEST(PlausibilityRanges, RefuseNoiseEvenWithTheRightHistogram) {
  const PlausibilityRanges ranges = TrainedRanges();
  std::mt19937 random(1);
  std::vector<int16_t> shuffled = Thorax(1);
  std::shuffle(shuffled.begin(), shuffled.end(), random);
  EXPECT_THAT(ranges.Check(Measure(shuffled)), Names("roughness"));

  std::vector<int16_t> noise(shuffled.size());
  std::uniform_int_distribution<int> uniform(-1024, 600);
  for (int16_t& voxel : noise) voxel = static_cast<int16_t>(uniform(random));
  EXPECT_THAT(ranges.Check(Measure(noise)), Names("fraction.bone"));
}

TEST(PlausibilityRanges, SurviveTheRoundTripThroughJson) {
  const PlausibilityRanges ranges = TrainedRanges();
  const auto parsed = PlausibilityRanges::Parse(ranges.ToJson(), "config.json");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ranges(), ranges.ranges());
  EXPECT_EQ(parsed->regions(), ranges.regions());
  EXPECT_EQ(parsed->ToJson(), ranges.ToJson());
}

TEST(PlausibilityRanges, RefuseHostileJsonWithTheFieldsName) {
  const struct {
    const char* text;
    const char* word;
  } cases[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {R"({"format":2})", "format"},
      {R"({"format":1,"volumes":"x"})", "volumes"},
      {R"({"format":1,"volumes":3,"window":[5,1]})", "window"},
      {R"({"format":1,"volumes":3,"window":[0,1],"regions":[]})", "regions"},
      {R"({"format":1,"volumes":3,"window":[0,1],"regions":[{"name":1,"range":[0,1]}]})",
       "regions"},
      {R"({"format":1,"volumes":3,"window":[0,1],"regions":[{"name":"a","range":[0,1]}]})",
       "figures"},
      {R"({"format":1,"volumes":3,"window":[0,1],"regions":[{"name":"a","range":[0,1]}],)"
       R"("figures":{"mean":{"observed":[0,1],"allowed":[2,1]}}})",
       "figures.mean"},
  };
  for (const auto& [text, word] : cases) {
    const auto parsed = PlausibilityRanges::Parse(text, "config.json");
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(parsed.status().message(), HasSubstr(word));
    EXPECT_THAT(parsed.status().message(), HasSubstr("config.json"));
  }
}

TEST(DefaultRegions, CoverEveryValueOnceForAnyModality) {
  for (const char* modality : {"CT", "MR"}) {
    const auto regions = DefaultRegions(modality, kWindow);
    for (size_t i = 1; i < regions.size(); ++i) EXPECT_EQ(regions[i].low, regions[i - 1].high);
    EXPECT_TRUE(std::isinf(regions.front().low) && std::isinf(regions.back().high));
  }
}

}  // namespace
}  // namespace synthvol::model
