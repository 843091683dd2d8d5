// The whole network in bfloat16 on a CPU: how far from float32, when it is refused, what it takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "model/inference/cpu_synthesizer.h"
#include "testing.h"

namespace synthvol::model {
namespace {

class Bf16Network : public testing::TestWithParam<int64_t> {};

// Each rounding is off by 2^-9 / sqrt(3) in the mean square, each product has two, the transforms
// double that (they take differences and sums of neighbours), and what six layers add, the last one
// and tanh pass on: a few thousandths. Measured 0.0046, and 0.063 for the largest voxel of 256^3.
// The limit is below what a format of one bit fewer would give; the largest has the GPU test's.
TEST_P(Bf16Network, StaysNearFloat32) {
  const TemporaryFolder folder;
  ModelConfig config = SmallConfig(GetParam());
  WriteHashedModel(config, folder.path());
  SynthesizerOptions options;
  options.cpu_bf16 = true;
  const auto model = LoadOrDie(folder.path(), options);
  if (const auto status = model->CheckPrecision(Precision::kBf16); !status.ok()) {
    GTEST_SKIP() << status.message();
  }
  const auto latent = LatentFromSeed(4, config.latent_dim).value();
  SynthesisInput input;
  input.latent = latent;
  const auto exact = SynthesizeUnit(*model, input).value();
  // float32 of a model that was also loaded in bfloat16 is that of one that was not.
  EXPECT_EQ(SynthesizeUnit(*LoadOrDie(folder.path()), input).value(), exact);
  input.precision = Precision::kBf16;
  const auto rounded = SynthesizeUnit(*model, input).value();
  ASSERT_EQ(rounded.size(), exact.size());
  double square = 0.0;
  double largest = 0.0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double difference = std::abs(static_cast<double>(rounded[i] - exact[i]));
    square += difference * difference;
    largest = std::max(largest, difference);
  }
  const double rms = std::sqrt(square / static_cast<double>(exact.size()));
  RecordProperty("rms", std::to_string(rms));
  RecordProperty("largest", std::to_string(largest));
  EXPECT_LE(rms, 0x1p-7);
  EXPECT_LE(largest, 0.1);
  EXPECT_GE(rms, 0x1p-12) << "this is float32";
}

INSTANTIATE_TEST_SUITE_P(Sizes, Bf16Network, testing::Values(64, 128, 256));

absl::Status CheckBf16(bool switched_on, const Bf16Kernels* kernels) {
  const TemporaryFolder folder;
  WriteHashedModel(SmallConfig(64), folder.path());
  const auto checkpoint = OpenCheckpoint(folder.path());
  SynthesizerOptions options;
  options.cpu_bf16 = switched_on;
  const auto model = CpuSynthesizer::Create(*checkpoint, options, BestKernels(), kernels);
  const auto latent = LatentFromSeed(1, 24).value();
  SynthesisInput input;
  input.latent = latent;
  input.precision = Precision::kBf16;
  const auto status = SynthesizeStored(**model, input).status();
  EXPECT_EQ((*model)->CheckPrecision(Precision::kBf16), status);
  return status;
}

TEST(Bf16Refusal, SaysWhetherTheCpuOrTheSwitchIsMissing) {
  EXPECT_EQ(CheckBf16(true, nullptr),
            absl::InvalidArgumentError(
                "precision: bf16 is not supported on this CPU, which lacks AVX512-BF16"));
  if (BestBf16Kernels() == nullptr) GTEST_SKIP() << "this CPU has no AVX512-BF16";
  EXPECT_EQ(CheckBf16(false, BestBf16Kernels()),
            absl::InvalidArgumentError("precision: bf16 is not switched on: the model was loaded "
                                       "without bfloat16 weights"));
  EXPECT_TRUE(CheckBf16(true, BestBf16Kernels()).ok());
}

}  // namespace
}  // namespace synthvol::model
