#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/synthesizer.h"
#include "testing.h"

namespace synthvol::model {
namespace {

TEST(LatentFromSeed, EqualsPyTorchBitForBit) {
  const auto golden = ReadGolden("latents.json");
  if (!golden) GTEST_SKIP() << "no golden/latents.json in SYNTHVOL_SHARED_DIR";
  int checked = 0;
  for (const auto& [key, expected] : golden->at("seeds").items()) {
    const size_t comma = key.find(",latent_dim=");
    const int64_t dim = comma == std::string::npos ? 1024 : std::stoll(key.substr(comma + 12));
    const auto latent = LatentFromSeed(std::stoull(key.substr(0, comma)), dim);
    ASSERT_TRUE(latent.ok()) << latent.status();
    ASSERT_EQ(static_cast<int64_t>(latent->size()), dim);
    const auto compare = [&](const nlohmann::json& values, size_t from) {
      for (size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ((*latent)[from + i], values[i].get<float>()) << key << " value " << from + i;
        ++checked;
      }
    };
    if (expected.contains("values")) {
      compare(expected["values"], 0);
      continue;
    }
    compare(expected["first8"], 0);
    compare(expected["last8"], latent->size() - 8);
    double sum = 0.0;
    double squares = 0.0;
    for (const float value : *latent) {
      sum += static_cast<double>(value);
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    EXPECT_NEAR(sum, expected["sum"].get<double>(), 1e-9) << key;
    EXPECT_NEAR(squares, expected["sumsq"].get<double>(), 1e-9) << key;
  }
  EXPECT_GT(checked, 300);
}

TEST(LatentFromSeed, RefusesSeedsThatWouldRepeat) {
  EXPECT_TRUE(LatentFromSeed(4294967295ULL, 16).ok());
  const auto beyond = LatentFromSeed(4294967296ULL, 16);
  ASSERT_FALSE(beyond.ok());
  EXPECT_EQ(beyond.status().message(), "seed: 0 to 4294967295 expected, 4294967296 given");
}

TEST(LatentFromSeed, RefusesAnEmptyLatent) { EXPECT_FALSE(LatentFromSeed(0, 0).ok()); }

TEST(MixLatents, GivesTheEndsAndKeepsTheLengthBetween) {
  const auto a = LatentFromSeed(1, 1024).value();
  const auto b = LatentFromSeed(2, 1024).value();
  EXPECT_EQ(MixLatents(a, b, 0.0).value(), a);
  EXPECT_EQ(MixLatents(a, b, 1.0).value(), b);
  const auto norm = [](const std::vector<float>& v) {
    return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
  };
  const auto middle = MixLatents(a, b, 0.5).value();
  // A straight mix of independent latents would shrink to 0.71 of their length.
  EXPECT_NEAR(norm(middle) / norm(a), 1.0, 0.05);
}

TEST(MixLatents, TakesEqualOppositeAndZeroLatents) {
  const std::vector<float> a{1.0F, 2.0F};
  const std::vector<float> opposite{-1.0F, -2.0F};
  const std::vector<float> zero{0.0F, 0.0F};
  EXPECT_EQ(MixLatents(a, a, 0.25).value(), a);
  EXPECT_EQ(MixLatents(zero, zero, 0.5).value(), zero);
  EXPECT_EQ(MixLatents(a, opposite, 0.5).value(), zero);
}

TEST(MixLatents, RefusesUnequalLengthsAndFractionsOutside) {
  const std::vector<float> a{1.0F, 2.0F};
  const std::vector<float> b{1.0F};
  EXPECT_FALSE(MixLatents(a, b, 0.5).ok());
  EXPECT_FALSE(MixLatents(a, a, 1.5).ok());
  EXPECT_FALSE(MixLatents(a, a, std::nan("")).ok());
}

}  // namespace
}  // namespace synthvol::model
