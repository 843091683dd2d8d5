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
  Buffer bf16;  // the same in bfloat16, empty unless asked for
  std::vector<float> bias;

  const uint16_t* bf16_rows() const { return reinterpret_cast<const uint16_t*>(bf16.data()); }
};

// A convolution: its kernel as points^3 matrices (docs/inference.md),
// [point][panel of outputs][input][kPanel]. Channels are padded.
struct PackedConvolution {
  ConvolutionPlan plan;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  Buffer panels;
  // In bfloat16, [point][panel of outputs][input / 2][kPanel][2]; empty unless asked for, and for
  // layers that stay in float.
  Buffer bf16;
  std::vector<float> bias;   // [out_channels]
  std::vector<float> gamma;  // GroupNorm's weight, [plan.out_channels]
  std::vector<float> beta;   // GroupNorm's bias, [plan.out_channels]

  int64_t panel_count() const { return out_channels / kPanel; }
  int64_t panel_stride() const { return in_channels * kPanel; }
  bool has_bf16() const { return bf16.bytes() > 0; }
  const uint16_t* bf16_panels() const { return reinterpret_cast<const uint16_t*>(bf16.data()); }
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

  // Whether the weights are there in bfloat16 too.
  bool has_bf16 = false;

  // Bytes that the weights take.
  int64_t Bytes() const;
};

// Packs one kernel [out][in][3][3][3] into `panels`, which is zero before.
void PackConvolutionKernel(absl::Span<const float> kernel, PackedConvolution& layer);

// Adds the bfloat16 weights of a packed layer: its floats, rounded. RESOURCE_EXHAUSTED for memory.
absl::Status AddBf16(PackedConvolution& layer);

// Packs a checkpoint that passed CheckGeneratorWeights, on request for bfloat16 too.
// RESOURCE_EXHAUSTED for memory.
absl::StatusOr<PackedGenerator> PackGenerator(const Checkpoint& checkpoint, bool with_bf16 = false);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_PACKED_WEIGHTS_H_
