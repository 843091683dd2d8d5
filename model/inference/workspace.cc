#include "model/inference/workspace.h"

#include <algorithm>
#include <utility>

#include "model/inference/convolution.h"
#include "model/inference/last_layer.h"

namespace synthvol::model {
namespace {

// Input planes of the last layer a slab: few, so that the first slices leave early; enough, so that
// the planes that are read twice (one on either side) cost little.
constexpr int64_t kSlabPlanes = 8;

// Planes of the last feature map that RenderMode::kBounded keeps: those of a slab, one on either
// side, and what whole blocks add.
int64_t WindowPlanes(const ConvolutionPlan& last) {
  const int64_t block_planes = 2 * last.BlockOf(kPanel).tiles[0];
  const int64_t planes = kSlabPlanes + 2 + 2 * (block_planes - 1);
  return std::min(last.out_size(), (planes + block_planes - 1) / block_planes * block_planes);
}

}  // namespace

int64_t WorkspaceLayout::Bytes() const {
  int64_t bytes = 4 * Buffer::BytesFor(normalisation);
  for (const int64_t floats :
       {activations[0], activations[1], latent, shared, block_sums, slabs[0], slabs[1], scratch}) {
    bytes += Buffer::BytesFor(floats);
  }
  return bytes;
}

WorkspaceLayout MakeLayout(const PackedGenerator& weights, RenderMode mode) {
  WorkspaceLayout layout;
  const GeneratorPlan& plan = weights.plan;
  const ConvolutionPlan& last = plan.convolutions.back();
  layout.last_planes = mode == RenderMode::kFast ? last.out_size() : WindowPlanes(last);
  layout.slab_planes = kSlabPlanes;
  layout.latent = weights.first.inputs;
  // fc1's output; then each convolution writes the map that the one before did not.
  layout.activations[0] = Padded(plan.first_channels) * 64;
  for (size_t i = 0; i < weights.convolutions.size(); ++i) {
    const PackedConvolution& layer = weights.convolutions[i];
    const bool is_last = i + 1 == weights.convolutions.size();
    const int64_t size = layer.plan.out_size();
    const int64_t planes = is_last ? layout.last_planes : size;
    int64_t& map = layout.activations[(i + 1) % 2];
    map = std::max(map, planes * size * size * layer.out_channels);
    // The last one is rendered by planes, hence in blocks.
    const ConvolutionMode how = is_last ? ConvolutionMode::kBlocks : PreferredMode(layer);
    layout.scratch = std::max(layout.scratch, ScratchFloats(layer, how));
    layout.shared = std::max(layout.shared, SharedFloats(layer, how));
    layout.block_sums = std::max(layout.block_sums, BlockSumFloats(layer));
    layout.normalisation = std::max(layout.normalisation, layer.out_channels);
  }
  layout.scratch =
      std::max(layout.scratch, LastLayerScratchFloats(plan.last_in_size, weights.last.in_channels));
  const int64_t voxels = 2 * kSlabPlanes * plan.size * plan.size;
  layout.slabs[static_cast<size_t>(OutputKind::kStored)] = voxels / 2;
  layout.slabs[static_cast<size_t>(OutputKind::kUnit)] = voxels;
  return layout;
}

absl::StatusOr<std::unique_ptr<Workspace>> Workspace::Allocate(const WorkspaceLayout& layout,
                                                               const SlabPools& pools) {
  auto workspace = std::make_unique<Workspace>();
  const std::pair<Buffer*, int64_t> parts[] = {{&workspace->activations[0], layout.activations[0]},
                                               {&workspace->activations[1], layout.activations[1]},
                                               {&workspace->latent, layout.latent},
                                               {&workspace->shared, layout.shared},
                                               {&workspace->block_sums, layout.block_sums},
                                               {&workspace->scale[0], layout.normalisation},
                                               {&workspace->scale[1], layout.normalisation},
                                               {&workspace->shift[0], layout.normalisation},
                                               {&workspace->shift[1], layout.normalisation},
                                               {&workspace->scratch, layout.scratch}};
  for (const auto& [buffer, floats] : parts) {
    auto allocated = Buffer::Allocate(floats);
    if (!allocated.ok()) return allocated.status();
    *buffer = *std::move(allocated);
  }
  for (size_t kind = 0; kind < pools.size(); ++kind) {
    auto slab = pools[kind]->Take();
    if (!slab.ok()) return slab.status();
    workspace->slabs[kind] = *std::move(slab);
  }
  return workspace;
}

}  // namespace synthvol::model
