// Folded against plain upsampling, slab-wise against whole encoding, and parameter counts of every
// size.
#include "model/train/networks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "model/train/train_step.h"

namespace synthvol::model {
namespace {

ModelConfig SmallConfig(Architecture architecture, int64_t size, int64_t classes = 0) {
  ModelConfig config;
  config.architecture = architecture;
  config.size = size;
  config.channels = 16;
  config.latent_dim = 24;
  config.num_classes = classes;
  return config;
}

// Runs the generator on fixed input and returns image and gradients by parameter.
std::map<std::string, at::Tensor> ForwardAndGradients(Generator& generator, ConvolutionPath path) {
  generator.set_convolution_path(path);
  generator.net().RequireGradients(true);
  at::manual_seed(3);
  const at::Tensor latent = at::randn({2, generator.shape().latent_dim});
  const at::Tensor embedding = generator.Embed(latent);
  const at::Tensor image =
      generator.Render(SubVolume(generator.shape(), 12).CutEmbedding(embedding));
  const at::Tensor target = at::randn(image.sizes());
  (image * target).mean().backward();
  std::map<std::string, at::Tensor> result = {{"image", image.detach()}};
  for (const auto& item : generator.net().parameters()) {
    if (item.tensor.grad().defined()) result[item.name] = item.tensor.grad().clone();
  }
  generator.net().DropGradients();
  generator.net().RequireGradients(false);
  return result;
}

// Counts parameters of the networks as published: 32 channels, latents of 1024.
int64_t Count(Architecture architecture, int64_t size) {
  ModelConfig config;
  config.architecture = architecture;
  config.size = size;
  return Networks(config).ParameterCount();
}

TEST(ParameterCounts, AreThePublishedOnes) {
  EXPECT_EQ(Count(Architecture::kCrfGan, 64), 57079938);
  EXPECT_EQ(Count(Architecture::kCrfGan, 128), 57209762);
  EXPECT_EQ(Count(Architecture::kCrfGan, 256), 57244594);
  EXPECT_NEAR(static_cast<double>(Count(Architecture::kHaGan, 64)), 78.7e6, 0.05e6);
  EXPECT_EQ(Count(Architecture::kHaGan, 128), 79583972);
  EXPECT_EQ(Count(Architecture::kHaGan, 256), 79744884);
}

TEST(ParameterCounts, At512AddOneStageToEachNetworkOf256) {
  // Generator: conv 32->16 k3 and its norm; the last conv takes 16 channels instead of 32.
  constexpr int64_t kGenerator = 16 * (32 * 27 + 1) + 2 * 16 - 16 * 27;
  // Discriminator: conv 1->8 k4 in front; the next takes 8 channels instead of 1.
  constexpr int64_t kDiscriminator = 8 * (64 + 1) + 16 * 7 * 64;
  // Half-encoder: conv 1->16 k4 and its norm in front; the next takes 16 channels instead of 1.
  constexpr int64_t kEncoder = 16 * (64 + 1) + 2 * 16 + 32 * 15 * 64;
  for (const Architecture architecture : {Architecture::kCrfGan, Architecture::kHaGan}) {
    EXPECT_EQ(Count(architecture, 512),
              Count(architecture, 256) + kGenerator + kDiscriminator + kEncoder);
  }
}

TEST(Folding, GivesThePlainImageAndGradients) {
  {
    Generator generator{NetworkShape(SmallConfig(Architecture::kCrfGan, 64))};
    generator.net().Initialise(1);
    const auto plain = ForwardAndGradients(generator, ConvolutionPath::kPlain);
    const auto folded = ForwardAndGradients(generator, ConvolutionPath::kFast);
    ASSERT_EQ(plain.size(), folded.size());
    ASSERT_GT(plain.size(), 25U);
    for (const auto& [name, expected] : plain) {
      // Rounding moves a few values across ReLU's kink, each of which changes a gradient a little.
      const double scale = expected.norm().item<double>();
      const double difference = (folded.at(name) - expected).norm().item<double>();
      EXPECT_LT(difference, (name == "image" ? 1e-4 : 5e-2) * scale + 1e-12) << name;
    }
  }
}

TEST(Folding, ServesNewWeightsAfterAnInPlaceChange) {
  const at::NoGradGuard no_grad;
  Generator generator{NetworkShape(SmallConfig(Architecture::kCrfGan, 64))};
  generator.net().Initialise(1);
  const at::Tensor latent = at::randn({1, 24});
  const at::Tensor before = generator.Render(generator.Embed(latent));
  generator.net()["tp_conv3.weight"].mul_(-1.0);
  const at::Tensor after = generator.Render(generator.Embed(latent));
  generator.set_convolution_path(ConvolutionPath::kPlain);
  const at::Tensor expected = generator.Render(generator.Embed(latent));
  EXPECT_GT((after - before).abs().max().item<double>(), 1e-3);
  EXPECT_LT((after - expected).abs().max().item<double>(), 1e-4);
}

// Runs two iterations and returns their losses by name, and the networks' power vectors.
std::map<std::string, double> LossesOfTwoIterations(Architecture architecture, bool low_memory,
                                                    std::vector<at::Tensor>& power_vectors) {
  const ModelConfig config = SmallConfig(architecture, 64, /*classes=*/2);
  Networks networks(config);
  networks.Initialise(7);
  TrainOptions options;
  options.low_memory = low_memory;
  TrainStep step(networks, options);
  at::manual_seed(11);
  std::map<std::string, double> losses;
  for (int64_t iteration = 0; iteration < 2; ++iteration) {
    std::vector<MicroBatch> batches(1);
    for (MicroBatch& batch : batches) {
      batch.images = at::rand({2, 1, 64, 64, 64}) * 2.0 - 1.0;
      batch.labels = at::randint(2, {2}, at::kLong);
      for (at::Tensor* noise :
           {&batch.noise_discriminator, &batch.noise_generator, &batch.noise_crf}) {
        *noise = at::randn({2, config.latent_dim});
      }
    }
    for (const LossValue& loss : step.Run(batches, /*crop=*/20 * iteration, iteration)) {
      losses[std::to_string(iteration) + "." + loss.name] = loss.value;
    }
  }
  for (const auto& item : networks.discriminator.net().buffers()) {
    power_vectors.push_back(item.tensor.clone());
  }
  return losses;
}

TEST(LowMemory, GivesTheLossesOfWholeBatches) {
  for (const Architecture architecture : {Architecture::kCrfGan, Architecture::kHaGan}) {
    std::vector<at::Tensor> whole_vectors;
    std::vector<at::Tensor> low_vectors;
    const auto whole = LossesOfTwoIterations(architecture, /*low_memory=*/false, whole_vectors);
    const auto low = LossesOfTwoIterations(architecture, /*low_memory=*/true, low_vectors);
    ASSERT_EQ(whole.size(), low.size());
    ASSERT_GT(whole.size(), 12U);
    for (const auto& [name, expected] : whole) {
      // Adam's first step is the gradient's sign, which rounding turns where it is near zero.
      const double tolerance = name[0] == '0' ? 5e-4 : 5e-3;
      EXPECT_NEAR(low.at(name), expected, tolerance * expected) << name;
    }
    // The spectral norm moved as often as with whole batches; one step more would show.
    ASSERT_EQ(whole_vectors.size(), low_vectors.size());
    for (size_t i = 0; i < whole_vectors.size(); ++i) {
      EXPECT_LT((whole_vectors[i] - low_vectors[i]).norm().item<double>(), 0.02);
    }
  }
}

TEST(EncodeWhole, EqualsTheEncoderOnTheWholeVolume) {
  const at::NoGradGuard no_grad;
  for (const int64_t size : {int64_t{64}, int64_t{128}}) {
    HalfEncoder encoder{NetworkShape(SmallConfig(Architecture::kCrfGan, size))};
    encoder.net().Initialise(2);
    const at::Tensor images = at::randn({2, 1, size, size, size});
    const at::Tensor expected = encoder.Encode(images);
    const at::Tensor actual = encoder.EncodeWhole(images);
    ASSERT_EQ(actual.sizes(), expected.sizes());
    EXPECT_LT((actual - expected).abs().max().item<double>(), 1e-4);
  }
}

}  // namespace
}  // namespace synthvol::model
