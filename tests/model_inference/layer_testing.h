// What the tests of single layers share.
#ifndef SYNTHVOL_TESTS_MODEL_INFERENCE_LAYER_TESTING_H_
#define SYNTHVOL_TESTS_MODEL_INFERENCE_LAYER_TESTING_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "model/inference/packed_weights.h"

namespace synthvol::model {

// Values on [-1, 1], the same for the same stream.
std::vector<float> Noise(int64_t count, uint64_t stream);

// Runs pieces one after the other, backwards: their order must not matter.
struct Backwards {
  mutable std::vector<float> scratch;
  void operator()(int64_t count, absl::FunctionRef<void(int64_t, float*)> piece) const;
};

// Packs a layer of this kernel, [out][in][3][3][3]; bias, gamma and beta are noise.
PackedConvolution MakeLayer(ConvolutionKind kind, int64_t in_channels, int64_t out_channels,
                            int64_t in_size, const std::vector<float>& kernel);

}  // namespace synthvol::model

#endif  // SYNTHVOL_TESTS_MODEL_INFERENCE_LAYER_TESTING_H_
