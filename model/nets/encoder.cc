#include "model/nets/encoder.h"

#include <ATen/ATen.h>

#include <string>

#include "model/nets/layers.h"

namespace synthvol::model {
namespace {

// Convolves NAME with stride 2 (kernel 4, padding 1), which halves every axis.
at::Tensor Halve(const ParameterSet& net, const std::string& name, const at::Tensor& input) {
  return at::conv3d(input, net[name + ".weight"], net[name + ".bias"], /*stride=*/2, /*padding=*/1);
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

at::Tensor HalfEncoder::Encode(const at::Tensor& image) const {
  at::Tensor h = image;
  if (shape_.size == 512) h = NormRelu(net_, "bn0", Halve(net_, "conv0", h));
  h = NormRelu(net_, "bn1", Halve(net_, "conv1", h));
  h = NormRelu(net_, "bn2", Convolve3(net_, "conv2", h));
  return NormRelu(net_, "bn3", Halve(net_, "conv3", h));
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
    h = NormRelu(net_, "bn" + number, Halve(net_, "conv" + number, h));
  }
  h = at::conv3d(h, net_["conv5.weight"], net_["conv5.bias"]);
  return h.reshape({h.size(0), shape_.latent_dim});
}

}  // namespace synthvol::model
