// The generators of the two reference implementations, rebuilt from the hash, through the optimised
// path: shared/golden/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/hash_weights.h"
#include "model/synthesizer.h"
#include "testing.h"

namespace synthvol::model {
namespace {

// Forward figures: 2e-5 absolute or 2e-4 relative.
void ExpectClose(double actual, double expected, const std::string& what) {
  const double error = std::abs(actual - expected);
  EXPECT_TRUE(error <= 2e-5 || error <= 2e-4 * std::abs(expected))
      << what << ": " << actual << ", expected " << expected;
}

class GoldenForward : public testing::TestWithParam<const char*> {};

TEST_P(GoldenForward, GivesTheReferenceVolume) {
  const auto golden = ReadGolden(std::string(GetParam()) + ".json");
  if (!golden) GTEST_SKIP() << "no golden/" << GetParam() << ".json in SYNTHVOL_SHARED_DIR";
  ModelConfig config;
  config.architecture = ParseArchitecture(golden->at("architecture").get<std::string>()).value();
  config.size = golden->at("resolution").get<int64_t>();
  const auto salt = golden->at("salt").get<uint64_t>();
  const TemporaryFolder folder;
  const auto model = LoadOrDie(WriteHashedModel(config, folder.path(), salt));

  std::vector<float> latent(static_cast<size_t>(config.latent_dim));
  HashUniform(salt, 1001, absl::MakeSpan(latent));
  for (float& value : latent) value *= 1.7320508F;
  SynthesisInput input;
  input.latent = latent;
  const auto volume = SynthesizeUnit(*model, input);
  ASSERT_TRUE(volume.ok()) << volume.status();
  ASSERT_EQ(static_cast<int64_t>(volume->size()), config.size * config.size * config.size);

  const nlohmann::json& expected = golden->at("generator_full");
  double sum = 0.0;
  double sizes = 0.0;
  double squares = 0.0;
  for (const float value : *volume) {
    const auto v = static_cast<double>(value);
    sum += v;
    sizes += std::abs(v);
    squares += v * v;
  }
  const auto count = static_cast<double>(volume->size());
  const double mean = sum / count;
  ExpectClose(mean, expected["mean"], "mean");
  ExpectClose(sizes / count, expected["abs_mean"], "abs_mean");
  ExpectClose(std::sqrt(squares / count - mean * mean), expected["std"], "std");
  ExpectClose(*std::min_element(volume->begin(), volume->end()), expected["min"], "min");
  ExpectClose(*std::max_element(volume->begin(), volume->end()), expected["max"], "max");
  for (size_t i = 0; i < expected["flat_index"].size(); ++i) {
    ExpectClose((*volume)[expected["flat_index"][i].get<size_t>()], expected["value"][i],
                "voxel " + expected["flat_index"][i].dump());
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenForward,
                         testing::Values("crf-gan-64", "crf-gan-128", "crf-gan-256", "ha-gan-128",
                                         "ha-gan-256"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace synthvol::model
