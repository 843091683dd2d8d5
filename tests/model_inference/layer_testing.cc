#include "layer_testing.h"

#include <algorithm>
#include <cmath>

#include "absl/types/span.h"
#include "model/checkpoint/hash_weights.h"

namespace synthvol::model {

std::vector<float> Noise(int64_t count, uint64_t stream) {
  std::vector<float> values(static_cast<size_t>(count));
  HashUniform(11, stream, absl::MakeSpan(values));
  return values;
}

void Backwards::operator()(int64_t count, absl::FunctionRef<void(int64_t, float*)> piece) const {
  for (int64_t i = count - 1; i >= 0; --i) {
    std::fill(scratch.begin(), scratch.end(), std::nanf(""));
    piece(i, scratch.data());
  }
}

PackedConvolution MakeLayer(ConvolutionKind kind, int64_t in_channels, int64_t out_channels,
                            int64_t in_size, const std::vector<float>& kernel) {
  PackedConvolution layer;
  layer.plan = {"test", kind, in_channels, out_channels, in_size};
  layer.in_channels = Padded(in_channels);
  layer.out_channels = Padded(out_channels);
  layer.bias = Noise(out_channels, 31);
  layer.bias.resize(static_cast<size_t>(layer.out_channels), 0.0F);
  layer.gamma = Noise(out_channels, 32);
  layer.beta = Noise(out_channels, 33);
  layer.panels =
      Buffer::Allocate(layer.plan.points() * layer.in_channels * layer.out_channels).value();
  PackConvolutionKernel(kernel, layer);
  return layer;
}

}  // namespace synthvol::model
