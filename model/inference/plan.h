// The generator as the CPU engine sees it: a list of convolutions with their sizes, and the last
// layer. Plain values, from the configuration alone.
#ifndef SYNTHVOL_MODEL_INFERENCE_PLAN_H_
#define SYNTHVOL_MODEL_INFERENCE_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/kernels/kernels.h"

namespace synthvol::model {

// GroupNorm of every convolution but the last (DESIGN section 5).
inline constexpr int64_t kGroups = 8;
inline constexpr double kGroupNormEpsilon = 1e-5;

// Rounds channels up to what the kernels take; the added ones are zero throughout.
constexpr int64_t Padded(int64_t channels) { return (channels + kPanel - 1) / kPanel * kPanel; }

// A convolution k3 p1, after nearest x2 (kUp) or not (kSame), followed by GroupNorm and ReLU.
struct ConvolutionPlan {
  // Its number in the tensors' names: "tp_conv<number>", "bn<number>".
  std::string number;
  ConvolutionKind kind = ConvolutionKind::kSame;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  // Voxels a side of the input.
  int64_t in_size = 0;

  int64_t out_size() const { return kind == ConvolutionKind::kUp ? 2 * in_size : in_size; }
  // Tiles a side: each makes 2x2x2 outputs.
  int64_t tiles() const { return out_size() / 2; }
  int64_t points() const { return PointsOf(kind) * PointsOf(kind) * PointsOf(kind); }
  // Tiles a block, [z, y, x]; and blocks a side.
  Block BlockOf(int64_t channels) const;
  int64_t BlocksAlong(int axis) const;
  int64_t BlockCount() const { return BlocksAlong(0) * BlocksAlong(1) * BlocksAlong(2); }
};

struct GeneratorPlan {
  int64_t size = 0;
  // fc1: latent values and classes in, [first_channels, 4, 4, 4] out.
  int64_t latent_inputs = 0;
  int64_t first_channels = 0;
  std::vector<ConvolutionPlan> convolutions;
  // The last layer: nearest x2, k3 p1, one channel out, tanh.
  int64_t last_in_channels = 0;
  int64_t last_in_size = 0;
};

// Lists the layers of a valid configuration.
GeneratorPlan MakePlan(const ModelConfig& config);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_PLAN_H_
