#include "model/nets/generator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "model/nets/upsample_convolution.h"

namespace synthvol::model {

Generator::Generator(const NetworkShape& shape) : shape_(shape) {
  const int64_t c = shape.channels;
  net_.AddLayer("fc1",
                {16 * c * kSeedSize * kSeedSize * kSeedSize, shape.latent_dim + shape.num_classes});
  const auto stage = [this](const std::string& number, int64_t in, int64_t out) {
    net_.AddLayer("tp_conv" + number, {out, in, 3, 3, 3});
    net_.AddNorm("bn" + number, out);
  };
  stage("1", 16 * c, 16 * c);
  stage("2", 16 * c, 16 * c);
  stage("3", 16 * c, 8 * c);
  stage("4", 8 * c, 4 * c);
  stage("5", 4 * c, 2 * c);
  stage("6", 2 * c, c);
  const bool third_stage = shape.size == 512;
  if (third_stage) stage("8", c, c / 2);
  net_.AddLayer("tp_conv7", {1, third_stage ? c / 2 : c, 3, 3, 3});
  if (shape.ha_gan) {
    net_.AddLayer("sub_G.tp_conv1", {c, 2 * c, 3, 3, 3});
    net_.AddNorm("sub_G.bn1", c);
    net_.AddLayer("sub_G.tp_conv2", {c / 2, c, 3, 3, 3});
    net_.AddNorm("sub_G.bn2", c / 2);
    net_.AddLayer("sub_G.tp_conv3", {1, c / 2, 3, 3, 3});
  }
}

at::Tensor Generator::UpsampleConvolve(const std::string& name, const at::Tensor& input) const {
  if (path_ == ConvolutionPath::kPlain) return UpsampleConvolvePlain(net_, name, input);
  const at::Tensor& weight = net_[name + ".weight"];
  if (input.device().is_cpu()) return UpsampleConvolveTaps(input, weight, net_[name + ".bias"]);
  at::Tensor kernel;
  if (at::GradMode::is_enabled() && weight.requires_grad()) {
    kernel = FoldUpsampleKernel(weight);
  } else {
    Folded& folded = folded_[name];
    if (!folded.kernel.defined() || folded.version != weight._version()) {
      const at::NoGradGuard no_grad;
      folded = {static_cast<uint32_t>(weight._version()), FoldUpsampleKernel(weight)};
    }
    kernel = folded.kernel;
  }
  return at::conv_transpose3d(input, kernel, net_[name + ".bias"], /*stride=*/2, /*padding=*/1);
}

at::Tensor Generator::Embed(const at::Tensor& latent, const at::Tensor& one_hot) const {
  return EmbedProjected(Project(latent, one_hot));
}

at::Tensor Generator::Project(const at::Tensor& latent, const at::Tensor& one_hot) const {
  const at::Tensor input = one_hot.defined() ? at::cat({latent, one_hot}, 1) : latent;
  return at::linear(input, net_["fc1.weight"], net_["fc1.bias"])
      .view({-1, 16 * shape_.channels, kSeedSize, kSeedSize, kSeedSize});
}

at::Tensor Generator::EmbedProjected(const at::Tensor& projected) const {
  at::Tensor h = NormRelu(net_, "bn1", Convolve3(net_, "tp_conv1", projected, path_));
  h = NormRelu(net_, "bn2", UpsampleConvolve("tp_conv2", h));
  h = NormRelu(net_, "bn3", UpsampleConvolve("tp_conv3", h));
  h = shape_.size >= 128 ? UpsampleConvolve("tp_conv4", h) : Convolve3(net_, "tp_conv4", h, path_);
  h = NormRelu(net_, "bn4", h);
  h = shape_.size >= 256 ? UpsampleConvolve("tp_conv5", h) : Convolve3(net_, "tp_conv5", h, path_);
  return NormRelu(net_, "bn5", h);
}

at::Tensor Generator::Render(const at::Tensor& embedding) const {
  at::Tensor h = NormRelu(net_, "bn6", UpsampleConvolve("tp_conv6", embedding));
  if (shape_.size == 512) h = NormRelu(net_, "bn8", UpsampleConvolve("tp_conv8", h));
  return UpsampleConvolve("tp_conv7", h).tanh_();
}

at::Tensor Generator::RenderSmall(const at::Tensor& embedding) const {
  at::Tensor h = NormRelu(net_, "sub_G.bn1", Convolve3(net_, "sub_G.tp_conv1", embedding, path_));
  h = NormRelu(net_, "sub_G.bn2", Convolve3(net_, "sub_G.tp_conv2", h, path_));
  return Convolve3(net_, "sub_G.tp_conv3", h, path_).tanh_();
}

at::Tensor Generator::Crop(const at::Tensor& embedding, int64_t crop) const {
  return embedding.narrow(2, crop / shape_.Stride(), shape_.SubVolumeEmbeddingSlices());
}

}  // namespace synthvol::model
