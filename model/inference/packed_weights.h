// The generator's weights in the form that the kernels read. Made once at load; constant after, so
// that any number of threads may read it.
#ifndef SYNTHVOL_MODEL_INFERENCE_PACKED_WEIGHTS_H_
#define SYNTHVOL_MODEL_INFERENCE_PACKED_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/checkpoint/checkpoint.h"
#include "model/inference/buffer.h"
#include "model/inference/plan.h"

namespace synthvol::model {

// A linear layer: rows [outputs][padded inputs].
struct PackedLinear {
  int64_t inputs = 0;  // padded to kPanel
  int64_t outputs = 0;
  Buffer rows;
  std::vector<float> bias;
};

// A convolution: its kernel as points^3 matrices (docs/inference.md),
// [point][panel of outputs][input][kPanel]. Channels are padded.
struct PackedConvolution {
  ConvolutionPlan plan;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  Buffer panels;
  std::vector<float> bias;   // [out_channels]
  std::vector<float> gamma;  // GroupNorm's weight, [plan.out_channels]
  std::vector<float> beta;   // GroupNorm's bias, [plan.out_channels]

  int64_t panel_count() const { return out_channels / kPanel; }
  int64_t panel_stride() const { return in_channels * kPanel; }
};

// The last layer: one row of weights a tap, [27][padded inputs], taps in order z, y, x.
struct PackedLastLayer {
  int64_t in_channels = 0;
  std::vector<float> rows;
  float bias = 0.0F;
};

struct PackedGenerator {
  GeneratorPlan plan;
  PackedLinear first;
  std::vector<PackedConvolution> convolutions;
  PackedLastLayer last;

  // Bytes that the weights take.
  int64_t Bytes() const;
};

// Packs one kernel [out][in][3][3][3] into `panels`, which is zero before.
void PackConvolutionKernel(absl::Span<const float> kernel, PackedConvolution& layer);

// Packs a checkpoint that passed CheckGeneratorWeights. RESOURCE_EXHAUSTED for memory.
absl::StatusOr<PackedGenerator> PackGenerator(const Checkpoint& checkpoint);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_PACKED_WEIGHTS_H_
