// The whole network beside a plain one made of PyTorch's operators, layer by layer as published:
// every size, both modes, odd channel counts, conditional models, each instruction set.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv3d.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/upsample_nearest3d.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "model/checkpoint/hash_weights.h"
#include "model/inference/cpu_synthesizer.h"
#include "testing.h"

namespace synthvol::model {
namespace {

// The published network, on whole volumes.
class PlainGenerator {
 public:
  explicit PlainGenerator(const ModelConfig& config, HashedWeights& weights) : config_(config) {
    for (size_t i = 0; i < weights.tensors.size(); ++i) {
      tensors_[weights.tensors[i].name] =
          at::from_blob(weights.values[i].data(), weights.tensors[i].shape, at::kFloat);
    }
  }

  // The volume [1,1,N,N,N]; at 512 its last layer is left to Slices, since it would take 8 GB.
  at::Tensor Features(const std::vector<float>& latent, int64_t label) {
    at::Tensor z = at::from_blob(const_cast<float*>(latent.data()),
                                 {1, static_cast<int64_t>(latent.size())}, at::kFloat);
    if (config_.num_classes > 0) {
      at::Tensor one_hot = at::zeros({1, config_.num_classes});
      one_hot.select(1, label).fill_(1.0);
      z = at::cat({z, one_hot}, 1);
    }
    at::Tensor x =
        at::linear(z, At("fc1.weight"), At("fc1.bias")).view({1, 16 * config_.channels, 4, 4, 4});
    x = Block(x, "1", false);
    x = Block(x, "2", true);
    x = Block(x, "3", true);
    x = Block(x, "4", config_.size >= 128);
    x = Block(x, "5", config_.size >= 256);
    x = Block(x, "6", true);
    if (config_.size == 512) x = Block(x, "8", true);
    return x;
  }

  // Slices 2 * begin .. 2 * end - 1 of the volume, [slices, N, N], from the features.
  at::Tensor Slices(const at::Tensor& features, int64_t begin, int64_t end) {
    // One plane more on either side, where there is one.
    const int64_t from = std::max<int64_t>(0, begin - 1);
    const int64_t to = std::min(features.size(2), end + 1);
    const at::Tensor x = Upsample(features.slice(2, from, to));
    const at::Tensor y = at::tanh(at::conv3d(x, At("tp_conv7.weight"), At("tp_conv7.bias"), 1, 1));
    return y[0][0].slice(0, 2 * (begin - from), 2 * (end - from)).contiguous();
  }

 private:
  const at::Tensor& At(const std::string& name) const { return tensors_.at(name); }

  static at::Tensor Upsample(const at::Tensor& x) {
    return at::upsample_nearest3d(x, {2 * x.size(2), 2 * x.size(3), 2 * x.size(4)});
  }

  at::Tensor Block(at::Tensor x, const std::string& number, bool up) const {
    if (up) x = Upsample(x);
    x = at::conv3d(x, At("tp_conv" + number + ".weight"), At("tp_conv" + number + ".bias"), 1, 1);
    return at::relu(at::group_norm(x, 8, At("bn" + number + ".weight"), At("bn" + number + ".bias"),
                                   1e-5, /*cudnn_enabled=*/false));
  }

  const ModelConfig config_;
  std::map<std::string, at::Tensor> tensors_;
};

struct Case {
  int64_t size;
  int64_t channels;
  int64_t num_classes;
};

class ReferenceNetwork : public testing::TestWithParam<Case> {};

TEST_P(ReferenceNetwork, AgreesWithin1em4InBothModes) {
  const c10::InferenceMode inference;
  // One: on a busy machine, threads that wait for each other take longer than they save.
  at::set_num_threads(1);
  ModelConfig config = SmallConfig(GetParam().size);
  config.channels = GetParam().channels;
  config.num_classes = GetParam().num_classes;
  const TemporaryFolder folder;
  WriteHashedModel(config, folder.path(), 3);
  HashedWeights weights = MakeHashedGenerator(config, 3);
  PlainGenerator plain(config, weights);
  const auto latent = LatentFromSeed(6, config.latent_dim).value();
  SynthesisInput input;
  input.latent = latent;
  input.class_label = config.num_classes > 0 ? config.num_classes - 1 : -1;

  SynthesizerOptions options;
  const auto fast = SynthesizeUnit(*LoadOrDie(folder.path(), options), input).value();
  options.mode = RenderMode::kBounded;
  // 512^3 floats are half a gigabyte: compared as they are, not kept twice.
  size_t at = 0;
  bool equal = true;
  const auto bounded = LoadOrDie(folder.path(), options);
  ASSERT_TRUE(bounded
                  ->Synthesize(input, OutputKind::kUnit,
                               [&](const Slab& slab) {
                                 equal = equal &&
                                         std::equal(slab.unit.begin(), slab.unit.end(),
                                                    fast.begin() + static_cast<std::ptrdiff_t>(at));
                                 at += slab.unit.size();
                                 return absl::OkStatus();
                               })
                  .ok());
  EXPECT_TRUE(equal) << "the modes differ";
  EXPECT_EQ(at, fast.size());

  const at::Tensor features = plain.Features(latent, input.class_label);
  const int64_t planes = config.size / 2;
  // Everything up to 256, the ends and the middle at 512.
  const std::vector<int64_t> slabs =
      config.size == 512 ? std::vector<int64_t>{0, planes / 2, planes - 8} : std::vector<int64_t>{};
  double largest = 0.0;
  const auto compare = [&](int64_t begin, int64_t end) {
    const at::Tensor expected = plain.Slices(features, begin, end);
    const float* reference = expected.const_data_ptr<float>();
    const int64_t offset = 2 * begin * config.size * config.size;
    for (int64_t i = 0; i < expected.numel(); ++i) {
      const auto actual = static_cast<double>(fast[static_cast<size_t>(offset + i)]);
      largest = std::max(largest, std::abs(actual - static_cast<double>(reference[i])));
    }
  };
  if (slabs.empty()) {
    for (int64_t z = 0; z < planes; z += 16) compare(z, z + 16);
  } else {
    for (const int64_t z : slabs) compare(z, z + 8);
  }
  EXPECT_LE(largest, 1e-4);
  RecordProperty("largest_difference", std::to_string(largest));
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceNetwork,
                         testing::Values(Case{64, 8, 0}, Case{64, 24, 2}, Case{128, 8, 3},
                                         Case{256, 8, 0}, Case{512, 16, 0}),
                         [](const auto& test) {
                           return "size" + std::to_string(test.param.size) + "_c" +
                                  std::to_string(test.param.channels) + "_classes" +
                                  std::to_string(test.param.num_classes);
                         });

TEST(ReferenceNetworkKernels, EachInstructionSetAgrees) {
  const c10::InferenceMode inference;
  const ModelConfig config = SmallConfig(64);
  const TemporaryFolder folder;
  WriteHashedModel(config, folder.path(), 3);
  HashedWeights weights = MakeHashedGenerator(config, 3);
  PlainGenerator plain(config, weights);
  const auto latent = LatentFromSeed(6, config.latent_dim).value();
  const at::Tensor expected = plain.Slices(plain.Features(latent, -1), 0, 32);
  const auto checkpoint = OpenCheckpoint(folder.path());
  ASSERT_TRUE(checkpoint.ok());
  SynthesisInput input;
  input.latent = latent;
  for (const Kernels* kernels : AvailableKernels()) {
    auto model = CpuSynthesizer::Create(*checkpoint, {}, *kernels, nullptr);
    ASSERT_TRUE(model.ok()) << model.status();
    const auto volume = SynthesizeUnit(**model, input).value();
    double largest = 0.0;
    for (int64_t i = 0; i < expected.numel(); ++i) {
      largest =
          std::max(largest, std::abs(static_cast<double>(volume[static_cast<size_t>(i)]) -
                                     static_cast<double>(expected.const_data_ptr<float>()[i])));
    }
    EXPECT_LE(largest, 1e-4) << kernels->name;
  }
}

}  // namespace
}  // namespace synthvol::model
