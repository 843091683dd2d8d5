#include "model/nets/discriminator.h"

#include <ATen/ATen.h>

namespace synthvol::model {
namespace {

constexpr Triple kCube4{4, 4, 4};
constexpr Triple kTwo{2, 2, 2};
constexpr Triple kOne{1, 1, 1};
constexpr Triple kNone{0, 0, 0};

// Works in place: its gradient needs only the sign, which the result keeps, so that a layer holds
// one map instead of two.
at::Tensor LeakyRelu(at::Tensor x) { return at::leaky_relu_(x, kLeakySlope); }

}  // namespace

std::vector<Discriminator::Layer> Discriminator::Layers() const {
  const int64_t w = shape_.DiscriminatorChannels();
  const std::vector<Layer> all = {
      {"conv0", w / 64, kCube4, kTwo, kOne},         {"conv1", w / 32, kCube4, kTwo, kOne},
      {"conv2", w / 16, kCube4, kTwo, kOne},         {"conv3", w / 8, kCube4, kTwo, kOne},
      {"conv4", w / 4, {2, 4, 4}, kTwo, {0, 1, 1}},  {"conv5", w / 2, {2, 4, 4}, kTwo, {0, 1, 1}},
      {"conv6", w, {1, 4, 4}, {1, 2, 2}, {0, 1, 1}}, {"conv7", w / 4, {1, 4, 4}, kOne, kNone},
  };
  return {all.begin() + shape_.FirstDiscriminatorLayer(), all.end()};
}

std::vector<Discriminator::Layer> Discriminator::SubLayers() const {
  const int64_t w = shape_.DiscriminatorChannels() / 2;
  const std::vector<Layer> all = {
      {"sub_D.conv1", w / 8, kCube4, kTwo, kOne},
      {"sub_D.conv2", w / 4, kCube4, kTwo, kOne},
      {"sub_D.conv3", w / 2, kCube4, kTwo, kOne},
      {"sub_D.conv4", w, kCube4, kTwo, kOne},
      {"sub_D.conv5", 1 + shape_.num_classes, kCube4, kOne, kNone},
  };
  return {all.begin() + shape_.FirstSubLayer() - 1, all.end()};
}

Discriminator::Discriminator(const NetworkShape& shape) : shape_(shape) {
  const auto add = [this](const std::vector<Layer>& layers) {
    int64_t in = 1;
    for (const Layer& layer : layers) {
      net_.AddLayer(layer.name, {layer.out, in, layer.kernel[0], layer.kernel[1], layer.kernel[2]});
      net_.AddPowerVector(layer.name, layer.out);
      in = layer.out;
    }
  };
  const auto add_linear = [this](const std::string& name, int64_t in, int64_t out) {
    net_.AddLayer(name, {out, in});
    net_.AddPowerVector(name, out);
  };
  const int64_t w = shape.DiscriminatorChannels();
  add(Layers());
  add_linear("fc1", w / 4 + 1, w / 8);
  add_linear("fc2", w / 8, 1);
  if (shape.num_classes > 0) add_linear("fc2_class", w / 8, shape.num_classes);
  if (shape.ha_gan) add(SubLayers());
}

at::Tensor Discriminator::Weight(const std::string& name, PowerStep step) const {
  const at::Tensor& kept = net_[name + ".u0"];
  at::Tensor& before = power_before_[name];
  if (step == PowerStep::kNext) before = kept.clone();
  at::Tensor next;
  at::Tensor weight = SpectralWeight(net_, name, step == PowerStep::kSame ? before : kept, next);
  if (step == PowerStep::kNext) kept.copy_(next);
  return weight;
}

at::Tensor Discriminator::Convolve(const Layer& layer, const at::Tensor& input,
                                   PowerStep step) const {
  const at::Tensor weight = Weight(layer.name, step);
  const at::Tensor& bias = net_[layer.name + ".bias"];
  if (layer.kernel == kCube4 && layer.stride == kTwo) {
    return ConvolveHalve(input, weight, bias, ConvolutionPath::kFast);
  }
  return at::conv3d(input, weight, bias, layer.stride, layer.padding);
}

at::Tensor Discriminator::Linear(const std::string& name, const at::Tensor& input,
                                 PowerStep step) const {
  return at::linear(input, Weight(name, step), net_[name + ".bias"]);
}

Judgement Discriminator::Judge(const at::Tensor& image, const at::Tensor& small,
                               const SubVolume& place, PowerStep step) const {
  at::Tensor h = image;
  for (const Layer& layer : Layers()) {
    h = LeakyRelu(Convolve(layer, h, step));
  }
  h = h.reshape({image.size(0), -1});  // [N,w/4]
  h = at::cat({h, place.Fraction(h, h.size(0))}, 1);
  h = LeakyRelu(Linear("fc1", h, step));
  Judgement result;
  result.logit = Linear("fc2", h, step);
  if (shape_.num_classes > 0) result.class_logits = Linear("fc2_class", h, step);
  if (!shape_.ha_gan) return result;

  h = small;
  const std::vector<Layer> layers = SubLayers();
  for (const Layer& layer : layers) {
    h = Convolve(layer, h, step);
    if (&layer != &layers.back()) h = LeakyRelu(h);
  }
  h = h.reshape({-1, 1 + shape_.num_classes});
  result.logit = (result.logit + h.narrow(1, 0, 1)) / 2.0;
  if (shape_.num_classes > 0) {
    result.class_logits = (result.class_logits + h.narrow(1, 1, shape_.num_classes)) / 2.0;
  }
  return result;
}

}  // namespace synthvol::model
