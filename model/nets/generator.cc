#include "model/nets/generator.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include "model/nets/fused_kernels.h"
#include "model/nets/strided_convolution.h"
#include "model/nets/upsample_convolution.h"

namespace synthvol::model {
namespace {

// On a GPU, narrower maps are upsampled as written: they cost nothing, and the folded kernels of
// the layers that read them would be the largest tensors of all.
constexpr int64_t kLeastFoldedWidth = 8;

at::Tensor ChannelsLast(const at::Tensor& map) {
  return map.contiguous(at::MemoryFormat::ChannelsLast3d);
}

}  // namespace

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

at::Tensor Generator::UpsampleConvolve(const std::string& conv, const at::Tensor& input) const {
  if (path_ == ConvolutionPath::kPlain) return UpsampleConvolvePlain(net_, conv, input);
  return UpsampleConvolveTaps(input, net_[conv + ".weight"], net_[conv + ".bias"]);
}

at::Tensor Generator::Stage(const std::string& number, const at::Tensor& input,
                            bool upsample) const {
  const std::string conv = "tp_conv" + number;
  const std::string norm = "bn" + number;
  return upsample ? NormRelu(net_, norm, UpsampleConvolve(conv, input))
                  : ConvolveNormRelu(net_, conv, norm, input, StageKind::kKeep, path_);
}

at::Tensor Generator::PhaseKernel(const std::string& conv) const {
  const at::Tensor& weight = net_[conv + ".weight"];
  if (at::GradMode::is_enabled() && weight.requires_grad()) return FoldPhaseKernel(weight);
  Folded& folded = folded_[conv];
  const auto type = at::autocast::is_autocast_enabled(at::kCUDA)
                        ? at::autocast::get_autocast_dtype(at::kCUDA)
                        : at::kFloat;
  if (!folded.kernel.defined() || folded.version != weight._version() || folded.type != type) {
    const at::NoGradGuard no_grad;
    folded = {static_cast<uint32_t>(weight._version()), type, FoldPhaseKernel(weight)};
  }
  return folded.kernel;
}

NormReluInput Generator::BeforeNorm(const std::string& number, const at::Tensor& map,
                                    bool phases) const {
  const std::string norm = "bn" + number;
  return {map, net_["tp_conv" + number + ".bias"], net_[norm + ".weight"], net_[norm + ".bias"],
          phases};
}

NormReluInput Generator::DeviceStage(const std::string& number, const NormReluInput& before,
                                     bool upsample) const {
  const std::string conv = "tp_conv" + number;
  const at::Tensor& weight = net_[conv + ".weight"];
  if (!upsample) return BeforeNorm(number, NormReluConvolve(before, weight, 1, 1), false);
  const int64_t width = before.phases ? 2 * (before.map.size(4) - 1) : before.map.size(4);
  if (width >= kLeastFoldedWidth) {
    return BeforeNorm(number, NormReluConvolve(before, PhaseKernel(conv), 1, 1), true);
  }
  const at::Tensor small = FusedNormRelu(before);
  const at::Tensor large =
      at::upsample_nearest3d(small, {2 * small.size(2), 2 * small.size(3), 2 * small.size(4)});
  return BeforeNorm(number, at::conv3d(large, weight, {}, /*stride=*/1, /*padding=*/1), false);
}

at::Tensor Generator::Embed(const at::Tensor& latent, const at::Tensor& one_hot) const {
  return EmbedProjected(Project(latent, one_hot));
}

at::Tensor Generator::Project(const at::Tensor& latent, const at::Tensor& one_hot) const {
  const at::Tensor input = one_hot.defined() ? at::cat({latent, one_hot}, 1) : latent;
  // On a GPU in float under autocast too: most of all weights for a trifle of arithmetic, so that a
  // rounded copy of them would cost more than it saves.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::DispatchKey::AutocastCUDA);
  return at::linear(input.to(at::kFloat), net_["fc1.weight"], net_["fc1.bias"])
      .view({-1, 16 * shape_.channels, kSeedSize, kSeedSize, kSeedSize});
}

at::Tensor Generator::EmbedProjected(const at::Tensor& projected) const {
  const bool fourth = shape_.size >= 128;
  const bool fifth = shape_.size >= 256;
  if (UsesDeviceKernels(projected, path_)) {
    NormReluInput h = BeforeNorm(
        "1", at::conv3d(ChannelsLast(projected), net_["tp_conv1.weight"], {}, 1, 1), false);
    h = DeviceStage("2", h, /*upsample=*/true);
    h = DeviceStage("3", h, /*upsample=*/true);
    h = DeviceStage("4", h, fourth);
    return FusedNormRelu(DeviceStage("5", h, fifth));
  }
  at::Tensor h = Stage("1", projected, /*upsample=*/false);
  h = Stage("2", h, /*upsample=*/true);
  h = Stage("3", h, /*upsample=*/true);
  h = Stage("4", h, fourth);
  return Stage("5", h, fifth);
}

at::Tensor Generator::Render(const at::Tensor& embedding) const {
  const bool eighth = shape_.size == 512;
  if (UsesDeviceKernels(embedding, path_)) {
    NormReluInput h = BeforeNorm(
        "6", at::conv3d(ChannelsLast(embedding), PhaseKernel("tp_conv6"), {}, 1, 1), true);
    if (eighth) h = DeviceStage("8", h, /*upsample=*/true);
    return FusedTanhPhases(NormReluConvolve(h, PhaseKernel("tp_conv7"), 1, 1),
                           net_["tp_conv7.bias"]);
  }
  at::Tensor h = Stage("6", embedding, /*upsample=*/true);
  if (eighth) h = Stage("8", h, /*upsample=*/true);
  return UpsampleConvolve("tp_conv7", h).tanh_();
}

at::Tensor Generator::RenderSmall(const at::Tensor& embedding) const {
  const auto stage = [&](const std::string& number, const at::Tensor& input) {
    return ConvolveNormRelu(net_, "sub_G.tp_conv" + number, "sub_G.bn" + number, input,
                            StageKind::kKeep, path_);
  };
  return Convolve3(net_, "sub_G.tp_conv3", stage("2", stage("1", embedding)), path_).tanh_();
}

}  // namespace synthvol::model
