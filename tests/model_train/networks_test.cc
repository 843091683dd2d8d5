// Folded against plain upsampling, slab-wise against whole encoding, and the shapes of every size.
#include "model/train/networks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

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
std::map<std::string, at::Tensor> ForwardAndGradients(Generator& generator, UpsamplePath path) {
  generator.set_upsample_path(path);
  generator.net().RequireGradients(true);
  at::manual_seed(3);
  const at::Tensor latent = at::randn({2, generator.shape().latent_dim});
  const at::Tensor embedding = generator.Embed(latent);
  const at::Tensor image = generator.Render(generator.Crop(embedding, 12));
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

TEST(Folding, GivesThePlainImageAndGradients) {
  {
    Generator generator{NetworkShape(SmallConfig(Architecture::kCrfGan, 64))};
    generator.net().Initialise(1);
    const auto plain = ForwardAndGradients(generator, UpsamplePath::kPlain);
    const auto folded = ForwardAndGradients(generator, UpsamplePath::kFolded);
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
  generator.set_upsample_path(UpsamplePath::kPlain);
  const at::Tensor expected = generator.Render(generator.Embed(latent));
  EXPECT_GT((after - before).abs().max().item<double>(), 1e-3);
  EXPECT_LT((after - expected).abs().max().item<double>(), 1e-4);
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
