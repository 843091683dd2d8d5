// Peak memory under a hard limit: each case runs in a process of its own, which loads the model,
// lets the system refuse more than the allowance beyond what it then has (RLIMIT_DATA counts every
// private writable page that is asked for), and renders.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "allocation_counter.h"
#include "model/inference/buffer.h"
#include "model/synthesizer.h"
#include "testing.h"

namespace synthvol::model {
namespace {

constexpr int64_t kMiB = 1 << 20;

// Reads a figure of /proc/self/status in bytes.
int64_t ReadStatus(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return -1;
}

// Private writable bytes mapped now: what RLIMIT_DATA compares with.
int64_t DataBytes() { return ReadStatus("VmData"); }

// Whether the system enforces RLIMIT_DATA (some sandboxes take it and ignore it).
bool LimitsAreEnforced() {
  const auto enforced = [] {
    const rlimit limit{static_cast<rlim_t>(DataBytes() + 16 * kMiB),
                       static_cast<rlim_t>(DataBytes() + 16 * kMiB)};
    setrlimit(RLIMIT_DATA, &limit);
    return Buffer::Allocate(64 * kMiB / 4).ok() ? 1 : 0;
  };
  const pid_t child = fork();
  if (child == 0) _exit(enforced());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct Case {
  int64_t size;
  RenderMode mode;
  int64_t allowance_mib;
  Precision precision = Precision::kFp32;
};

// Renders under the limit; runs in the child. Exit status 0 for a whole volume, 3 for
// RESOURCE_EXHAUSTED, 1 for anything else.
[[noreturn]] void RenderLimited(const std::string& folder, RenderMode mode, Precision precision,
                                int64_t allowance, bool at_estimate) {
  SynthesizerOptions options;
  options.mode = mode;
  options.cpu_bf16 = precision == Precision::kBf16;
  options.threads = 2;
  auto model = Synthesizer::Load(folder, options);
  if (!model.ok()) _exit(1);
  const auto latent = LatentFromSeed(1, (*model)->config().latent_dim).value();
  SynthesisInput input;
  input.latent = latent;
  input.precision = precision;
  const int64_t estimate = (*model)->EstimateWorkspaceBytes(precision);
  if (estimate > allowance) {
    std::fprintf(stderr, "the estimate of %ld MiB is above the allowance\n",
                 static_cast<long>(estimate / kMiB));
    _exit(1);
  }
  // The estimate is what a synthesis takes, but for a page or two of the C library's.
  const int64_t extra = at_estimate ? estimate + kMiB : estimate - kMiB;
  const rlimit limit{static_cast<rlim_t>(DataBytes() + extra),
                     static_cast<rlim_t>(DataBytes() + extra)};
  if (setrlimit(RLIMIT_DATA, &limit) != 0) _exit(1);
  int64_t slices = 0;
  const absl::Status status = (*model)->Synthesize(input, OutputKind::kStored, [&](const Slab& s) {
    slices += s.slice_count;
    return absl::OkStatus();
  });
  if (absl::IsResourceExhausted(status)) _exit(3);
  _exit(status.ok() && slices == (*model)->config().size ? 0 : 1);
}

// Whether a model that was loaded for it computes in this precision here.
bool CanCompute(const std::string& folder, Precision precision) {
  SynthesizerOptions options;
  options.cpu_bf16 = precision == Precision::kBf16;
  return LoadOrDie(folder, options)->CheckPrecision(precision).ok();
}

class MemoryTest : public testing::TestWithParam<Case> {};

// The published widths, whose memory is the issue's; few latent values, to keep loading short.
TEST_P(MemoryTest, RendersWithinItsEstimateAndTheIssuesAllowance) {
  if (!LimitsAreEnforced()) GTEST_SKIP() << "this system does not enforce RLIMIT_DATA";
  ModelConfig config;
  config.size = GetParam().size;
  config.latent_dim = 16;
  const TemporaryFolder folder;
  WriteHashedModel(config, folder.path());
  if (!CanCompute(folder.path(), GetParam().precision)) GTEST_SKIP() << "not on this CPU";
  malloc_trim(0);
  const int64_t allowance = GetParam().allowance_mib * kMiB;
  EXPECT_EXIT(RenderLimited(folder.path(), GetParam().mode, GetParam().precision, allowance, true),
              testing::ExitedWithCode(0), "");
}

TEST(MemoryLimit, BelowTheEstimateIsRefusedWithAStatus) {
  if (!LimitsAreEnforced()) GTEST_SKIP() << "this system does not enforce RLIMIT_DATA";
  const TemporaryFolder folder;
  WriteHashedModel(SmallConfig(128), folder.path());
  EXPECT_EXIT(RenderLimited(folder.path(), RenderMode::kFast, Precision::kFp32, 500 * kMiB, false),
              testing::ExitedWithCode(3), "");
}

// 0.5 GB and 0.9 GB at 256, 2 GB at 512.
INSTANTIATE_TEST_SUITE_P(All, MemoryTest,
                         testing::Values(Case{256, RenderMode::kBounded, 500},
                                         Case{256, RenderMode::kFast, 900},
                                         Case{512, RenderMode::kBounded, 2000},
                                         Case{512, RenderMode::kFast, 2000},
                                         Case{256, RenderMode::kBounded, 500, Precision::kBf16},
                                         Case{256, RenderMode::kFast, 900, Precision::kBf16},
                                         Case{512, RenderMode::kBounded, 2000, Precision::kBf16},
                                         Case{512, RenderMode::kFast, 2000, Precision::kBf16}),
                         [](const auto& test) {
                           return std::to_string(test.param.size) +
                                  (test.param.mode == RenderMode::kFast ? "_fast" : "_bounded") +
                                  (test.param.precision == Precision::kBf16 ? "_bf16" : "");
                         });

// With and without bfloat16 weights; one thread, since stacks are private writable memory too.
TEST(WeightBytes, AreWhatLoadingTakes) {
  const TemporaryFolder folder;
  WriteHashedModel(SmallConfig(64), folder.path());
  int64_t float_bytes = 0;
  for (const bool bf16 : {false, true}) {
    SynthesizerOptions options;
    options.threads = 1;
    options.cpu_bf16 = bf16;
    LoadOrDie(folder.path(), options);  // What the C library keeps from a first time is its own.
    malloc_trim(0);
    const int64_t before = DataBytes();
    const auto model = LoadOrDie(folder.path(), options);
    malloc_trim(0);
    EXPECT_NEAR(static_cast<double>(DataBytes() - before),
                static_cast<double>(model->WeightBytes()), static_cast<double>(kMiB));
    if (!bf16) float_bytes = model->WeightBytes();
    if (bf16 && model->CheckPrecision(Precision::kBf16).ok()) {
      EXPECT_GT(model->WeightBytes(), float_bytes + float_bytes / 8);
      EXPECT_LE(model->WeightBytes(), float_bytes + float_bytes / 2 + kMiB);
    }
  }
}

class SteadyState : public testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    WriteHashedModel(SmallConfig(64), folder_.path());
    if (!CanCompute(folder_.path(), GetParam())) GTEST_SKIP() << "not on this CPU";
    input_.latent = latent_;
    input_.precision = GetParam();
  }

  std::unique_ptr<Synthesizer> Load(RenderMode mode) const {
    SynthesizerOptions options;
    options.mode = mode;
    options.threads = 3;
    options.cpu_bf16 = GetParam() == Precision::kBf16;
    return LoadOrDie(folder_.path(), options);
  }

  const TemporaryFolder folder_;
  const std::vector<float> latent_ = LatentFromSeed(1, 24).value();
  SynthesisInput input_;
};

TEST_P(SteadyState, AllocatesNothing) {
  for (const RenderMode mode : {RenderMode::kFast, RenderMode::kBounded}) {
    const auto model = Load(mode);
    int64_t voxels = 0;
    const SlabCallback count = [&](const Slab& slab) {
      voxels += static_cast<int64_t>(slab.stored.size());
      return absl::OkStatus();
    };
    ASSERT_TRUE(model->Synthesize(input_, OutputKind::kStored, count).ok());
    const int64_t mapped = DataBytes();
    const int64_t before = AllocationCount();
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(model->Synthesize(input_, OutputKind::kStored, count).ok());
    }
    EXPECT_EQ(AllocationCount(), before);
    EXPECT_EQ(DataBytes(), mapped);
    EXPECT_EQ(voxels, 6 * 64 * 64 * 64);
  }
}

// A stream keeps a volume's slabs and lets go of them from another thread.
TEST_P(SteadyState, UsesSlabsAgainThatWereKept) {
  const auto model = Load(RenderMode::kFast);
  std::vector<std::shared_ptr<const void>> kept;
  kept.reserve(16);
  const auto render = [&] {
    return model->Synthesize(input_, OutputKind::kStored, [&](const Slab& slab) {
      kept.push_back(slab.keep());
      return absl::OkStatus();
    });
  };
  const auto let_go = [&] { std::thread([&] { kept.clear(); }).join(); };
  ASSERT_TRUE(render().ok());
  let_go();
  const int64_t mapped = DataBytes();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(render().ok());
    EXPECT_EQ(kept.size(), 4u);
    let_go();
  }
  EXPECT_EQ(DataBytes(), mapped);
}

INSTANTIATE_TEST_SUITE_P(All, SteadyState, testing::Values(Precision::kFp32, Precision::kBf16),
                         [](const auto& test) {
                           return test.param == Precision::kFp32 ? "fp32" : "bf16";
                         });

}  // namespace
}  // namespace synthvol::model
