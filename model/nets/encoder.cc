#include "model/nets/encoder.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <string>

#include "model/nets/fused_kernels.h"
#include "model/nets/layers.h"

namespace synthvol::model {
namespace {

at::Tensor Halve(const ParameterSet& net, const std::string& name, const at::Tensor& input) {
  return ConvolveHalve(input, net[name + ".weight"], net[name + ".bias"], ConvolutionPath::kPlain);
}

// Applies GroupNorm NAME and ReLU to one sample's map [1,C,D,H,W] in place.
void NormReluInPlace(const ParameterSet& net, const std::string& name, const at::Tensor& map) {
  const int64_t channels = map.size(1);
  const auto [variance, mean] =
      at::var_mean(map.view({kNormGroups, -1}), at::IntArrayRef{1}, /*unbiased=*/false);
  const at::Tensor rstd = (variance + kNormEpsilon).rsqrt();
  const int64_t repeat = channels / kNormGroups;
  const at::Tensor scale = net[name + ".weight"] * rstd.repeat_interleave(repeat);
  const at::Tensor shift = net[name + ".bias"] - scale * mean.repeat_interleave(repeat);
  map.mul_(scale.view({1, channels, 1, 1, 1})).add_(shift.view({1, channels, 1, 1, 1})).relu_();
}

// Convolves (kernel 3, padding 1, as many channels out as in) in place, slab by slab along
// depth: only the slice before the slab has to be remembered.
void Convolve3InPlace(const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& map) {
  // Slices of a slab: few where a slice is large; not so few that PyTorch takes its slow path for
  // small inputs.
  const int64_t slab_slices = std::max<int64_t>(16, 32768 / (map.size(3) * map.size(4)));
  const int64_t depth = map.size(2);
  const at::Tensor edge = at::zeros_like(map.narrow(2, 0, 1));
  at::Tensor before = edge;
  for (int64_t z = 0; z < depth; z += slab_slices) {
    const int64_t slices = std::min(slab_slices, depth - z);
    const bool last = z + slices == depth;
    const at::Tensor slab = map.narrow(2, z, slices);
    const at::Tensor input = at::cat({before, slab, last ? edge : map.narrow(2, z + slices, 1)}, 2);
    before = slab.narrow(2, slices - 1, 1).clone();
    slab.copy_(at::conv3d(input, weight, bias, /*stride=*/1,
                          /*padding=*/at::IntArrayRef{0, 1, 1}));
  }
}

}  // namespace

HalfEncoder::HalfEncoder(const NetworkShape& shape) : shape_(shape) {
  const int64_t c = shape.channels;
  const bool extra = shape.size == 512;
  if (extra) {
    net_.AddLayer("conv0", {c / 2, 1, 4, 4, 4});
    net_.AddNorm("bn0", c / 2);
  }
  net_.AddLayer("conv1", {c, extra ? c / 2 : 1, 4, 4, 4});
  net_.AddNorm("bn1", c);
  net_.AddLayer("conv2", {c, c, 3, 3, 3});
  net_.AddNorm("bn2", c);
  net_.AddLayer("conv3", {2 * c, c, 4, 4, 4});
  net_.AddNorm("bn3", 2 * c);
}

NormReluInput HalfEncoder::BeforeNorm(const std::string& number, const at::Tensor& map) const {
  const std::string norm = "bn" + number;
  return {map, net_["conv" + number + ".bias"], net_[norm + ".weight"], net_[norm + ".bias"]};
}

at::Tensor HalfEncoder::Encode(const at::Tensor& image) const {
  const auto weight = [this](const char* name) { return net_[std::string(name) + ".weight"]; };
  const bool extra = shape_.size == 512;
  if (UsesDeviceKernels(image, path_)) {
    const std::string first = extra ? "0" : "1";
    NormReluInput h =
        BeforeNorm(first, ConvolveHalve(image, weight(extra ? "conv0" : "conv1"), {}, path_));
    if (extra) h = BeforeNorm("1", NormReluConvolve(h, weight("conv1"), 2, 1));
    h = BeforeNorm("2", NormReluConvolve(h, weight("conv2"), 1, 1));
    return FusedNormRelu(BeforeNorm("3", NormReluConvolve(h, weight("conv3"), 2, 1)));
  }
  at::Tensor h = image;
  if (extra) h = ConvolveNormRelu(net_, "conv0", "bn0", h, StageKind::kHalve, path_);
  h = ConvolveNormRelu(net_, "conv1", "bn1", h, StageKind::kHalve, path_);
  h = ConvolveNormRelu(net_, "conv2", "bn2", h, StageKind::kKeep, path_);
  return ConvolveNormRelu(net_, "conv3", "bn3", h, StageKind::kHalve, path_);
}

at::Tensor HalfEncoder::EncodeWhole(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> embeddings;
  for (int64_t n = 0; n < images.size(0); ++n) {
    const at::Tensor image = images.narrow(0, n, 1);
    embeddings.push_back(UsesDeviceKernels(image, path_) ? EncodeOnDevice(image)
                                                         : EncodeSlabWise(image));
  }
  return at::cat(embeddings, 0);
}

at::Tensor HalfEncoder::EncodeOnDevice(const at::Tensor& image) const {
  const auto halve = [this](const std::string& number, const at::Tensor& input) {
    at::Tensor map = ConvolveHalve(input, net_["conv" + number + ".weight"], {}, path_);
    FusedNormReluInPlace(BeforeNorm(number, map));
    return map;
  };
  const at::Tensor h = halve("1", shape_.size == 512 ? halve("0", image) : image);
  Convolve3InPlace(net_["conv2.weight"], {}, h);
  FusedNormReluInPlace(BeforeNorm("2", h));
  return halve("3", h);
}

at::Tensor HalfEncoder::EncodeSlabWise(const at::Tensor& image) const {
  at::Tensor h = image;
  if (shape_.size == 512) {
    h = Halve(net_, "conv0", h);
    NormReluInPlace(net_, "bn0", h);
  }
  h = Halve(net_, "conv1", h);
  NormReluInPlace(net_, "bn1", h);
  Convolve3InPlace(net_["conv2.weight"], net_["conv2.bias"], h);
  NormReluInPlace(net_, "bn2", h);
  h = Halve(net_, "conv3", h);
  NormReluInPlace(net_, "bn3", h);
  return h;
}

SubEncoder::SubEncoder(const NetworkShape& shape) : shape_(shape) {
  const int64_t c = shape.channels;
  int64_t in = 2 * c;
  for (int64_t layer = shape.FirstSubLayer(); layer <= 4; ++layer) {
    const int64_t out = c << (layer - 1);
    net_.AddLayer("conv" + std::to_string(layer), {out, in, 4, 4, 4});
    net_.AddNorm("bn" + std::to_string(layer), out);
    in = out;
  }
  net_.AddLayer("conv5", {shape.latent_dim, in, 4, 4, 4});
}

at::Tensor SubEncoder::Encode(const at::Tensor& embedding) const {
  at::Tensor h = embedding;
  for (int64_t layer = shape_.FirstSubLayer(); layer <= 4; ++layer) {
    const std::string number = std::to_string(layer);
    h = ConvolveNormRelu(net_, "conv" + number, "bn" + number, h, StageKind::kHalve,
                         ConvolutionPath::kFast);
  }
  h = at::conv3d(h, net_["conv5.weight"], net_["conv5.bias"]);
  return h.reshape({h.size(0), shape_.latent_dim});
}

}  // namespace synthvol::model
