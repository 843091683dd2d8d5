// One convolution of the generator on the CPU (docs/inference.md): blocks of tiles are read with
// GroupNorm and ReLU, transformed, multiplied with the packed weights, transformed back, and
// written with their sums for the next GroupNorm.
//
// Outputs are the same bytes whatever runs beside, since each is summed in a fixed order.
#ifndef SYNTHVOL_MODEL_INFERENCE_CONVOLUTION_H_
#define SYNTHVOL_MODEL_INFERENCE_CONVOLUTION_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "model/inference/activation.h"
#include "model/inference/packed_weights.h"
#include "model/kernels/kernels.h"

namespace synthvol::model {

// Runs pieces 0..count-1 in any order, perhaps at once, each with scratch memory of its own.
using Parallel =
    absl::FunctionRef<void(int64_t count, absl::FunctionRef<void(int64_t, float*)> piece)>;

struct ConvolutionCall {
  const Kernels* kernels = nullptr;
  const PackedConvolution* layer = nullptr;
  Activation in;
  Normalisation normalisation;
  // Where outputs go; data null to want the statistics only.
  Activation out;
  // Sums over each block, [block][2][out_channels]; null when not wanted.
  float* block_sums = nullptr;
  // Not null: fields and weights in bfloat16, where the layer has such weights.
  const Bf16Kernels* bf16 = nullptr;
};

// How a layer is computed.
enum class ConvolutionMode {
  // A thread takes a block through all steps in its own cache.
  kBlocks,
  // All blocks are transformed, then each weight is read once for many blocks: for wide layers on
  // small grids, whose weights outweigh their voxels.
  kPhases,
};
ConvolutionMode PreferredMode(const PackedConvolution& layer);

// Floats of scratch that a piece needs, and of memory shared by the pieces (kPhases), in float32;
// bfloat16 uses less of them.
int64_t ScratchFloats(const PackedConvolution& layer, ConvolutionMode mode);
int64_t SharedFloats(const PackedConvolution& layer, ConvolutionMode mode);
// Floats of `block_sums`.
int64_t BlockSumFloats(const PackedConvolution& layer);

// Computes the planes of blocks z_begin..z_end-1, each 2 * tiles[0] output planes thick.
void RunBlocks(const ConvolutionCall& call, int64_t z_begin, int64_t z_end, Parallel parallel);
// Computes the whole layer in phases; `shared` has SharedFloats.
void RunPhases(const ConvolutionCall& call, float* shared, Parallel parallel);

// GroupNorm's factors from the blocks' sums, for `layer.out_channels` channels (the padded ones get
// zero). Sums in double, in the order of the blocks. Returns false when a sum is not finite.
bool FinishNormalisation(const PackedConvolution& layer, const float* block_sums,
                         absl::Span<float> scale, absl::Span<float> shift);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CONVOLUTION_H_
