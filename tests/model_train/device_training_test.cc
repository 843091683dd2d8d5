// Training on a GPU beside the CPU: kernels beside the plain operators, iterations beside the
// CPU's, recorded ones beside those that run as they come. Skipped, with the reason, where there is
// no GPU.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "convolution_testing.h"
#include "model/nets/fused_kernels.h"
#include "model/train/device.h"
#include "model/train/train_step.h"

namespace synthvol::model {
namespace {

class DeviceTrainingTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto device = FindDevice("cuda");
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    device_ = *device;
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setDeterministicCuDNN(true);
  }
  void TearDown() override { at::globalContext().setAllowTF32CuDNN(true); }

  c10::Device device_{c10::kCPU};
};

// Rounds to `type` and back, so that both sides read the same numbers.
at::Tensor Rounded(const at::Tensor& t, at::ScalarType type) { return t.to(type).to(at::kFloat); }

struct KernelCase {
  at::ScalarType type;
  double tolerance;
};

TEST_F(DeviceTrainingTest, NormReluGivesThePlainValuesAndGradients) {
  at::manual_seed(5);
  for (const KernelCase& test : {KernelCase{at::kFloat, 2e-5}, KernelCase{at::kBFloat16, 2e-2}}) {
    for (const int64_t channels : {8, 24, 64, 512, 1024}) {
      for (const bool phases : {false, true}) {
        // Odd extents, rows that threads do not divide, a mean far from zero.
        at::Tensor map = phases ? at::randn({2, 8 * channels, 4, 3, 6}) + 0.7
                                : at::randn({2, channels, 5, 3, 7}) + 0.7;
        map = Rounded(map, test.type);
        const NormReluInput plain{map, at::randn({channels}), at::randn({channels}),
                                  at::randn({channels}), phases};
        const NormReluInput there{map.to(device_, test.type), plain.shift.to(device_),
                                  plain.gamma.to(device_), plain.beta.to(device_), phases};
        const auto run = [](const NormReluInput& in, const at::Tensor& gradient) {
          const NormReluInput leaves{in.map.detach().requires_grad_(true),
                                     in.shift.detach().requires_grad_(true),
                                     in.gamma.detach().requires_grad_(true),
                                     in.beta.detach().requires_grad_(true), in.phases};
          const at::Tensor output = FusedNormRelu(leaves);
          const at::Tensor flow = gradient.to(output.device(), output.scalar_type());
          output.backward(flow);
          std::vector<at::Tensor> result{output.detach(), leaves.map.grad(), leaves.shift.grad(),
                                         leaves.gamma.grad(), leaves.beta.grad()};
          for (at::Tensor& t : result) t = t.to(at::kCPU, at::kFloat).contiguous();
          return result;
        };
        const at::Tensor gradient =
            Rounded(at::randn(phases ? at::IntArrayRef{2, channels, 6, 4, 10}
                                     : at::IntArrayRef{2, channels, 5, 3, 7}),
                    test.type);
        const auto expected = run(plain, gradient);
        const auto actual = run(there, gradient);
        for (size_t i = 0; i < expected.size(); ++i) {
          // A few values lie on ReLU's kink and may fall on either side; a shift's gradient is the
          // small rest of large sums.
          const double scale = i == 2 ? static_cast<double>(expected[4].norm().item<float>())
                                      : static_cast<double>(expected[i].norm().item<float>());
          const double difference =
              static_cast<double>((actual[i] - expected[i]).norm().item<float>());
          EXPECT_LT(difference, 10.0 * test.tolerance * scale)
              << "output " << i << ", channels " << channels << ", phases " << phases;
        }
        EXPECT_TRUE(at::equal(run(there, gradient)[1], actual[1])) << "not the same bits again";
        if (!phases) {
          const at::Tensor in_place =
              there.map.clone().contiguous(at::MemoryFormat::ChannelsLast3d);
          FusedNormReluInPlace({in_place, there.shift, there.gamma, there.beta});
          EXPECT_TRUE(at::equal(in_place.to(at::kCPU, at::kFloat).contiguous(), actual[0]));
        }
      }
    }
  }
}

TEST_F(DeviceTrainingTest, TanhPhasesGivesThePlainValuesAndGradients) {
  at::manual_seed(6);
  for (const KernelCase& test : {KernelCase{at::kFloat, 2e-6}, KernelCase{at::kBFloat16, 1e-2}}) {
    const at::Tensor phases = Rounded(at::randn({2, 8, 3, 4, 131}), test.type);
    const at::Tensor shift = at::randn({1});
    const at::Tensor gradient = Rounded(at::randn({2, 1, 4, 6, 260}), test.type);
    const auto run = [&](const c10::Device& device, at::ScalarType type) {
      const at::Tensor leaf = phases.to(device, type).detach().requires_grad_(true);
      const at::Tensor bias = shift.to(device).detach().requires_grad_(true);
      const at::Tensor output = FusedTanhPhases(leaf, bias);
      output.backward(gradient.to(device, type));
      return std::vector<at::Tensor>{output.detach().to(at::kCPU, at::kFloat),
                                     leaf.grad().to(at::kCPU, at::kFloat).contiguous(),
                                     bias.grad().to(at::kCPU)};
    };
    const auto expected = run(at::kCPU, at::kFloat);
    const auto actual = run(device_, test.type);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_LT(Difference(actual[i], expected[i].to(at::kDouble)), 4.0 * test.tolerance) << i;
    }
  }
}

std::vector<MicroBatch> Batches(const ModelConfig& config, const c10::Device& device) {
  std::vector<MicroBatch> batches(1);
  for (MicroBatch& batch : batches) {
    batch.images = (at::rand({2, 1, config.size, config.size, config.size}) * 2.0 - 1.0).to(device);
    if (config.num_classes > 0) batch.labels = at::randint(2, {2}, at::kLong).to(device);
    for (at::Tensor* noise :
         {&batch.noise_discriminator, &batch.noise_generator, &batch.noise_crf}) {
      *noise = at::randn({2, config.latent_dim}).to(device);
    }
  }
  return batches;
}

// Losses of six iterations at different places, by name.
std::map<std::string, double> LossesOf(const c10::Device& device, Architecture architecture,
                                       const TrainOptions& options, int64_t classes = 2) {
  ModelConfig config;
  config.architecture = architecture;
  config.size = 64;
  config.channels = 16;
  config.latent_dim = 24;
  config.num_classes = classes;
  Networks networks(config);
  networks.Initialise(7);
  networks.To(device);
  TrainStep step(networks, options);
  at::manual_seed(11);
  std::map<std::string, double> losses;
  for (int64_t i = 0; i < 6; ++i) {
    for (auto& [letter, adam] : step.optimizers()) {
      adam.set_learning_rate(1e-4 / static_cast<double>(1 + i));
    }
    for (const LossValue& loss : step.Run(Batches(config, device), 9 * i, i)) {
      losses[std::to_string(i) + "." + loss.name] = loss.value;
    }
  }
  for (auto& [letter, adam] : step.optimizers()) EXPECT_EQ(adam.steps(), 6) << letter;
  return losses;
}

TEST_F(DeviceTrainingTest, IterationsFollowTheCpus) {
  for (const Architecture architecture : {Architecture::kCrfGan, Architecture::kHaGan}) {
    const auto expected = LossesOf(at::kCPU, architecture, {});
    const auto actual = LossesOf(device_, architecture, {});
    ASSERT_EQ(actual.size(), expected.size());
    for (const auto& [name, value] : expected) {
      // Adam's first steps are the gradients' signs, which rounding turns where they are near zero.
      const double tolerance = name[0] == '0' ? 1e-3 : 3e-2;
      EXPECT_NEAR(actual.at(name), value, tolerance * std::abs(value) + 1e-4) << name;
    }
  }
}

TEST_F(DeviceTrainingTest, ARecordedIterationGivesWhatItGivesUnrecorded) {
  for (const Architecture architecture : {Architecture::kCrfGan, Architecture::kHaGan}) {
    for (const bool bf16 : {false, true}) {
      TrainOptions recorded;
      recorded.bf16 = bf16;
      recorded.low_memory = bf16;
      // The CRF stops to count half-way: another recording.
      recorded.crf_iterations = 5;
      TrainOptions plain = recorded;
      plain.cuda_graph = false;
      // With and without classes: latents come in other types.
      const int64_t classes = bf16 ? 0 : 2;
      const auto expected = LossesOf(device_, architecture, plain, classes);
      const auto actual = LossesOf(device_, architecture, recorded, classes);
      ASSERT_EQ(actual.size(), expected.size());
      for (const auto& [name, value] : expected) {
        EXPECT_NEAR(actual.at(name), value, 1e-5 * std::abs(value)) << name << " bf16 " << bf16;
      }
    }
  }
}

}  // namespace
}  // namespace synthvol::model
