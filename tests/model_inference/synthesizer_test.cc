// What a request may count on, in each precision of this CPU: the same bytes whatever the mode, the
// threads, the neighbours and the first slice; clear refusals; an end within one slab.
#include "model/synthesizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "testing.h"

namespace synthvol::model {
namespace {

using testing::HasSubstr;

// One model for all tests of this file.
class SynthesizerTest : public testing::TestWithParam<Precision> {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    WriteHashedModel(SmallConfig(64), folder_->path());
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  void SetUp() override {
    const auto status = Load()->CheckPrecision(GetParam());
    if (!status.ok()) GTEST_SKIP() << status.message();
  }

  static std::unique_ptr<Synthesizer> Load(int threads = 2, RenderMode mode = RenderMode::kFast) {
    SynthesizerOptions options;
    options.threads = threads;
    options.mode = mode;
    options.cpu_bf16 = GetParam() == Precision::kBf16;
    return LoadOrDie(folder_->path(), options);
  }
  static SynthesisInput InputOf(const std::vector<float>& latent) {
    SynthesisInput input;
    input.latent = latent;
    input.precision = GetParam();
    return input;
  }
  static std::vector<float> Latent(uint64_t seed) { return LatentFromSeed(seed, 24).value(); }

  static inline TemporaryFolder* folder_ = nullptr;
};

TEST_P(SynthesizerTest, GivesTheSameBytesForAnyThreadsModeAndRepetition) {
  const auto latent = Latent(3);
  const auto reference = SynthesizeUnit(*Load(1), InputOf(latent)).value();
  ASSERT_EQ(reference.size(), 64U * 64U * 64U);
  for (const RenderMode mode : {RenderMode::kFast, RenderMode::kBounded}) {
    for (const int threads : {1, 2, 5}) {
      const auto model = Load(threads, mode);
      for (int repetition = 0; repetition < 3; ++repetition) {
        EXPECT_EQ(SynthesizeUnit(*model, InputOf(latent)).value(), reference)
            << threads << " threads, repetition " << repetition;
      }
    }
  }
}

TEST_P(SynthesizerTest, GivesTheSameBytesBesideOthers) {
  const auto model = Load(2);
  std::vector<std::vector<int16_t>> alone;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const auto latent = Latent(seed);
    alone.push_back(SynthesizeStored(*model, InputOf(latent)).value());
  }
  EXPECT_NE(alone[0], alone[1]);
  std::vector<std::thread> callers;
  std::atomic<int> equal{0};
  for (uint64_t seed = 0; seed < 4; ++seed) {
    callers.emplace_back([&, seed] {
      const auto latent = Latent(seed);
      for (int i = 0; i < 5; ++i) {
        if (SynthesizeStored(*model, InputOf(latent)).value() == alone[seed]) ++equal;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(equal, 20);
}

TEST_P(SynthesizerTest, StoresWhatTheWindowMakesOfTheUnitVolume) {
  const auto model = Load();
  const auto latent = Latent(8);
  const auto unit = SynthesizeUnit(*model, InputOf(latent)).value();
  const auto stored = SynthesizeStored(*model, InputOf(latent)).value();
  ASSERT_EQ(unit.size(), stored.size());
  for (size_t i = 0; i < unit.size(); ++i) {
    ASSERT_EQ(stored[i], model->config().window.ToStored(unit[i])) << i;
  }
}

TEST_P(SynthesizerTest, ResumesAtAnySliceWithTheSameBytes) {
  const auto latent = Latent(5);
  for (const RenderMode mode : {RenderMode::kFast, RenderMode::kBounded}) {
    const auto model = Load(2, mode);
    const auto whole = SynthesizeStored(*model, InputOf(latent)).value();
    for (const int64_t start : {1, 15, 16, 17, 47, 63}) {
      SynthesisInput input = InputOf(latent);
      input.start_slice = start;
      const auto rest = SynthesizeStored(*model, input).value();
      ASSERT_EQ(static_cast<int64_t>(rest.size()), (64 - start) * 64 * 64);
      EXPECT_TRUE(std::equal(rest.begin(), rest.end(), whole.begin() + start * 64 * 64)) << start;
    }
  }
}

TEST_P(SynthesizerTest, DeliversSlabsInOrderWithoutGaps) {
  const auto model = Load();
  const auto latent = Latent(5);
  SynthesisInput input = InputOf(latent);
  input.start_slice = 5;
  int64_t next = 5;
  const auto status = model->Synthesize(input, OutputKind::kUnit, [&](const Slab& slab) {
    EXPECT_EQ(slab.first_slice, next);
    EXPECT_GT(slab.slice_count, 0);
    EXPECT_EQ(static_cast<int64_t>(slab.unit.size()), slab.slice_count * 64 * 64);
    EXPECT_TRUE(slab.stored.empty());
    next += slab.slice_count;
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(next, 64);
}

TEST_P(SynthesizerTest, SlabsThatAreKeptOutliveWhatFollowsAndTheModel) {
  auto model = Load();
  const auto latent = Latent(5);
  const auto other = Latent(6);
  const auto whole = SynthesizeStored(*model, InputOf(latent)).value();
  std::vector<absl::Span<const int16_t>> slabs;
  std::vector<std::shared_ptr<const void>> kept;
  ASSERT_TRUE(model
                  ->Synthesize(InputOf(latent), OutputKind::kStored,
                               [&](const Slab& slab) {
                                 slabs.push_back(slab.stored);
                                 kept.push_back(slab.keep());
                                 return absl::OkStatus();
                               })
                  .ok());
  // Every other one may be used again.
  for (size_t i = 1; i < kept.size(); i += 2) kept[i].reset();
  ASSERT_TRUE(SynthesizeStored(*model, InputOf(other)).ok());
  model.reset();
  ASSERT_EQ(slabs.size(), 4u);
  for (size_t i = 0; i < slabs.size(); i += 2) {
    EXPECT_TRUE(std::equal(slabs[i].begin(), slabs[i].end(),
                           whole.begin() + static_cast<int64_t>(i) * 16 * 64 * 64))
        << "slab " << i;
  }
}

TEST_P(SynthesizerTest, EndsWithinTheSlabWhoseCallbackSaysSo) {
  const auto model = Load();
  const auto latent = Latent(5);
  int slabs = 0;
  const auto status =
      model->Synthesize(InputOf(latent), OutputKind::kStored, [&](const Slab&) -> absl::Status {
        return ++slabs == 2 ? absl::CancelledError("client gone") : absl::OkStatus();
      });
  EXPECT_EQ(status, absl::CancelledError("client gone"));
  EXPECT_EQ(slabs, 2);
  // The model serves on.
  EXPECT_TRUE(SynthesizeStored(*model, InputOf(latent)).ok());
}

TEST_P(SynthesizerTest, EndsBeforeTheFirstSlabWhenInterrupted) {
  const auto latent = Latent(5);
  for (const RenderMode mode : {RenderMode::kFast, RenderMode::kBounded}) {
    const auto model = Load(2, mode);
    const auto reference = SynthesizeStored(*model, InputOf(latent)).value();
    int polls_of_a_whole_run = 0;
    SynthesisInput input = InputOf(latent);
    input.interrupted = [&] {
      ++polls_of_a_whole_run;
      return absl::OkStatus();
    };
    ASSERT_TRUE(SynthesizeStored(*model, input).ok());
    EXPECT_GT(polls_of_a_whole_run, 20);
    for (const int at : {1, 2, 5, 10, 15}) {
      int polls = 0;
      input.interrupted = [&] {
        return ++polls == at ? absl::DeadlineExceededError("late") : absl::OkStatus();
      };
      EXPECT_EQ(SynthesizeStored(*model, input).status(), absl::DeadlineExceededError("late"));
      EXPECT_EQ(polls, at) << "asked again after the answer";
    }
    EXPECT_EQ(SynthesizeStored(*model, InputOf(latent)).value(), reference);
  }
}

TEST_P(SynthesizerTest, RefusesBadInputsByName) {
  const auto model = Load();
  const auto latent = Latent(1);
  auto with_nan = latent;
  with_nan[3] = std::numeric_limits<float>::quiet_NaN();
  auto with_infinity = latent;
  with_infinity[0] = std::numeric_limits<float>::infinity();
  const std::vector<float> short_latent(23, 0.0F);

  struct Case {
    SynthesisInput input;
    const char* message;
  };
  std::vector<Case> cases{
      {InputOf(short_latent), "latent: 24 values expected, 23 given"},
      {InputOf(with_nan), "latent: finite values expected"},
      {InputOf(with_infinity), "latent: finite values expected"},
  };
  SynthesisInput input = InputOf(latent);
  input.class_label = 0;
  cases.push_back({input, "class_label: the model is unconditional"});
  input = InputOf(latent);
  input.start_slice = 64;
  cases.push_back({input, "start_slice: 0 to 63 expected"});
  input.start_slice = -1;
  cases.push_back({input, "start_slice: 0 to 63 expected"});
  input = InputOf(latent);
  input.precision = Precision::kTf32;
  cases.push_back({input, "precision: tf32 is not supported on a CPU"});
  for (const Case& test : cases) {
    const auto volume = SynthesizeStored(*model, test.input);
    EXPECT_EQ(volume.status().code(), absl::StatusCode::kInvalidArgument) << test.message;
    EXPECT_THAT(std::string(volume.status().message()), HasSubstr(test.message));
  }
}

INSTANTIATE_TEST_SUITE_P(All, SynthesizerTest, testing::Values(Precision::kFp32, Precision::kBf16),
                         [](const auto& test) {
                           return test.param == Precision::kFp32 ? "fp32" : "bf16";
                         });

TEST(ConditionalSynthesizer, RendersAClassAsAnotherVolume) {
  const TemporaryFolder folder;
  ModelConfig config = SmallConfig(64);
  config.num_classes = 3;
  const auto model = LoadOrDie(WriteHashedModel(config, folder.path()));
  const auto latent = LatentFromSeed(1, 24).value();
  SynthesisInput input;
  input.latent = latent;
  std::vector<std::vector<int16_t>> volumes;
  for (input.class_label = 0; input.class_label < 3; ++input.class_label) {
    volumes.push_back(SynthesizeStored(*model, input).value());
  }
  EXPECT_NE(volumes[0], volumes[1]);
  EXPECT_NE(volumes[1], volumes[2]);
  for (const int64_t label : {-1, 3}) {
    input.class_label = label;
    EXPECT_EQ(SynthesizeStored(*model, input).status().message(), "class_label: 0 to 2 expected");
  }
}

TEST(OverflowingSynthesizer, SaysWhichLayerIsNotFinite) {
  const TemporaryFolder folder;
  const ModelConfig config = SmallConfig(64);
  WriteHashedModel(config, folder.path());
  auto checkpoint = OpenCheckpoint(folder.path());
  ASSERT_TRUE(checkpoint.ok());
  // Finite weights whose sums are not.
  std::vector<std::vector<float>> values;
  std::vector<NamedTensor> tensors;
  for (const ExpectedTensor& expected : GeneratorTensors(config)) {
    const auto from = checkpoint->weights.Floats(expected.name, expected.shape).value();
    values.emplace_back(from.begin(), from.end());
    if (expected.name == "tp_conv2.weight") {
      std::fill(values.back().begin(), values.back().end(), 3e38F);
    }
  }
  size_t i = 0;
  for (const ExpectedTensor& expected : GeneratorTensors(config)) {
    tensors.push_back({expected.name, DType::kF32, expected.shape,
                       std::string_view(reinterpret_cast<const char*>(values[i].data()),
                                        values[i].size() * sizeof(float))});
    ++i;
  }
  ASSERT_TRUE(WriteCheckpoint(folder.path(), config, tensors).ok());
  const auto model = LoadOrDie(folder.path());
  const auto latent = LatentFromSeed(1, 24).value();
  SynthesisInput input;
  input.latent = latent;
  const auto status = SynthesizeStored(*model, input).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tp_conv2 is not finite"));
}

TEST(ParseDevice, NamesWhatIsAllowed) {
  EXPECT_FALSE(ParseDevice("cpu").value().cuda);
  EXPECT_TRUE(ParseDevice("auto").ok());
  for (const char* bad : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999"}) {
    EXPECT_EQ(ParseDevice(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace synthvol::model
