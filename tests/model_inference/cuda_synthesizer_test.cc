// The generator on a GPU beside the CPU engine: same voxels to rounding, same bytes every time.
// Skipped, with the reason, where there is no GPU.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "model/synthesizer.h"
#include "testing.h"

namespace synthvol::model {
namespace {

class CudaSynthesizerTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    const auto device = ParseDevice("cuda");
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    WriteHashedModel(SmallConfig(GetParam()), folder_.path());
    SynthesizerOptions options;
    options.device = *device;
    cuda_ = LoadOrDie(folder_.path(), options);
    input_.latent = latent_;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Synthesizer> cuda_;
  std::vector<float> latent_ = LatentFromSeed(4, 24).value();
  SynthesisInput input_;
};

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest;
}

TEST_P(CudaSynthesizerTest, GivesTheCpusVolumeInEachPrecision) {
  const auto expected = SynthesizeUnit(*LoadOrDie(folder_.path()), input_).value();
  struct Case {
    Precision precision;
    double tolerance;
  };
  for (const Case& test :
       {Case{Precision::kFp32, 1e-4}, Case{Precision::kTf32, 2e-2}, Case{Precision::kBf16, 1e-1}}) {
    if (!cuda_->CheckPrecision(test.precision).ok()) continue;
    input_.precision = test.precision;
    const auto actual = SynthesizeUnit(*cuda_, input_);
    ASSERT_TRUE(actual.ok()) << actual.status();
    ASSERT_EQ(actual->size(), expected.size());
    const double difference = LargestDifference(*actual, expected);
    EXPECT_LE(difference, test.tolerance);
    RecordProperty("difference_" + std::to_string(static_cast<int>(test.precision)),
                   std::to_string(difference));
  }
}

TEST_P(CudaSynthesizerTest, GivesTheSameBytesAloneBesideOthersAndResumed) {
  const auto alone = SynthesizeStored(*cuda_, input_).value();
  EXPECT_EQ(SynthesizeStored(*cuda_, input_).value(), alone);
  std::vector<std::thread> callers;
  std::vector<std::vector<int16_t>> volumes(3);
  for (size_t i = 0; i < volumes.size(); ++i) {
    callers.emplace_back([&, i] { volumes[i] = SynthesizeStored(*cuda_, input_).value(); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& volume : volumes) EXPECT_EQ(volume, alone);
  const int64_t size = GetParam();
  input_.start_slice = 21;
  const auto rest = SynthesizeStored(*cuda_, input_).value();
  EXPECT_TRUE(std::equal(rest.begin(), rest.end(), alone.begin() + 21 * size * size));
}

TEST_P(CudaSynthesizerTest, EndsWhenAskedAndServesOn) {
  int slabs = 0;
  const auto status = cuda_->Synthesize(input_, OutputKind::kStored, [&](const Slab&) {
    ++slabs;
    return absl::CancelledError("gone");
  });
  EXPECT_EQ(status, absl::CancelledError("gone"));
  EXPECT_EQ(slabs, 1);
  EXPECT_TRUE(SynthesizeStored(*cuda_, input_).ok());
}

TEST_P(CudaSynthesizerTest, KnowsBeforehandWhatItTakes) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    SynthesizerOptions options;
    options.device = ParseDevice("cuda").value();
    const auto model = LoadOrDie(folder_.path(), options);
    const int64_t expected = model->EstimateWorkspaceBytes(precision);
    input_.precision = precision;
    ASSERT_TRUE(SynthesizeStored(*model, input_).ok());
    // An estimate grows when a run took more.
    EXPECT_EQ(model->EstimateWorkspaceBytes(precision), expected);
  }
}

TEST_P(CudaSynthesizerTest, RunsOutOfMemoryWithAStatusAndServesOn) {
  const auto expected = SynthesizeStored(*cuda_, input_).value();
  SynthesizerOptions options;
  options.device = ParseDevice("cuda").value();
  const auto model = LoadOrDie(folder_.path(), options);
  // All that the device has but a little goes to somebody else.
  std::vector<void*> taken;
  for (size_t bytes = size_t{1} << 36; bytes >= size_t{1} << 22; bytes /= 2) {
    void* block = nullptr;
    while (cudaMalloc(&block, bytes) == cudaSuccess) taken.push_back(block);
    cudaGetLastError();
  }
  input_.precision = Precision::kBf16;
  const auto refused = SynthesizeStored(*model, input_);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
  for (void* block : taken) EXPECT_EQ(cudaFree(block), cudaSuccess);
  EXPECT_TRUE(SynthesizeStored(*model, input_).ok());
  input_.precision = Precision::kFp32;
  EXPECT_EQ(SynthesizeStored(*cuda_, input_).value(), expected);
}

INSTANTIATE_TEST_SUITE_P(Sizes, CudaSynthesizerTest, testing::Values(64, 128, 256));

}  // namespace
}  // namespace synthvol::model
