// The memory of one synthesis on the CPU, all of it taken before the first one begins.
#ifndef SYNTHVOL_MODEL_INFERENCE_WORKSPACE_H_
#define SYNTHVOL_MODEL_INFERENCE_WORKSPACE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/inference/buffer.h"
#include "model/inference/packed_weights.h"
#include "model/inference/slab_pool.h"
#include "model/synthesizer.h"

namespace synthvol::model {

// Floats of each part of a workspace.
struct WorkspaceLayout {
  // Two feature maps, read and written in turn.
  std::array<int64_t, 2> activations{0, 0};
  // Planes of the last feature map that are kept: all, or a window in RenderMode::kBounded.
  int64_t last_planes = 0;
  // Input planes of the last layer that make one slab: half as many as its slices.
  int64_t slab_planes = 0;
  int64_t latent = 0;
  int64_t shared = 0;
  int64_t block_sums = 0;
  // Scale and shift of the widest layer.
  int64_t normalisation = 0;
  // A slab of each OutputKind: int16 takes half of the place of float.
  std::array<int64_t, 2> slabs{0, 0};
  // Of one thread.
  int64_t scratch = 0;

  // Bytes of a workspace, with the scratch of its caller.
  int64_t Bytes() const;
};

WorkspaceLayout MakeLayout(const PackedGenerator& weights, RenderMode mode);

// Of each OutputKind.
using SlabPools = std::array<std::shared_ptr<SlabPool>, 2>;

struct Workspace {
  std::array<Buffer, 2> activations;
  Buffer latent;
  Buffer shared;
  Buffer block_sums;
  // GroupNorm's factors of two layers in turn.
  std::array<Buffer, 2> scale;
  std::array<Buffer, 2> shift;
  // Of each OutputKind; null when somebody kept the last one.
  std::array<std::shared_ptr<Buffer>, 2> slabs;
  Buffer scratch;

  // RESOURCE_EXHAUSTED for memory. The pools have the layout's slabs.
  static absl::StatusOr<std::unique_ptr<Workspace>> Allocate(const WorkspaceLayout& layout,
                                                             const SlabPools& pools);
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_WORKSPACE_H_
