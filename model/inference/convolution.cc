#include "model/inference/convolution.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace synthvol::model {
namespace {

constexpr int64_t kMaxTiles = 32;
// Blocks that share one reading of the weights in kPhases.
constexpr int64_t kPhaseBlocks = 8;
// Panels of weights that a piece of kPhases keeps in its second-level cache.
constexpr int64_t kPhasePanels = 4;
// From so many input channels on, a block's weights no longer fit the caches.
constexpr int64_t kPhaseChannels = 256;
constexpr int64_t kMaxPoints = 64;

int64_t TilesOf(const Block& block) { return block.tiles[0] * block.tiles[1] * block.tiles[2]; }

// Voxels a side of the halo of a block along an axis.
int64_t HaloExtent(ConvolutionKind kind, int64_t tiles) {
  return kind == ConvolutionKind::kUp ? tiles + 2 : 2 * tiles + 2;
}

int64_t HaloFloats(ConvolutionKind kind, const Block& block) {
  int64_t floats = block.channels;
  for (const int64_t tiles : block.tiles) floats *= HaloExtent(kind, tiles);
  return floats;
}

// Floats of one field, and how many fields the input transform makes.
int64_t FieldFloats(ConvolutionKind kind, const Block& block) {
  int64_t floats = block.channels;
  for (const int64_t tiles : block.tiles)
    floats *= kind == ConvolutionKind::kUp ? tiles + 1 : tiles;
  return floats;
}
int64_t FieldCount(ConvolutionKind kind) { return kind == ConvolutionKind::kUp ? 8 : kMaxPoints; }

// Where in the fields the rows of a point lie.
struct PointRows {
  int64_t offset;    // floats to tile (0, 0, 0)
  int64_t z_stride;  // floats between tiles
  int64_t y_stride;
};

PointRows RowsOf(ConvolutionKind kind, const Block& block, int64_t point) {
  const int64_t channels = block.channels;
  if (kind == ConvolutionKind::kSame) {
    const int64_t y_stride = block.tiles[2] * channels;
    return {point * FieldFloats(kind, block), block.tiles[1] * y_stride, y_stride};
  }
  // Points along an axis: 0 takes the difference to the voxel before, 1 the voxel, 2 the difference
  // of the voxel after.
  const int64_t axis[3] = {point / 9, point / 3 % 3, point % 3};
  const int64_t y_stride = (block.tiles[2] + 1) * channels;
  const int64_t z_stride = (block.tiles[1] + 1) * y_stride;
  const int64_t field = (axis[0] != 1 ? 4 : 0) + (axis[1] != 1 ? 2 : 0) + (axis[2] != 1 ? 1 : 0);
  const int64_t shift =
      (axis[0] == 2 ? z_stride : 0) + (axis[1] == 2 ? y_stride : 0) + (axis[2] == 2 ? channels : 0);
  return {field * FieldFloats(kind, block) + shift, z_stride, y_stride};
}

// Multiplies the rows of one point of one block with `panel_count` panels from `panel` on.
void MultiplyPoint(const ConvolutionCall& call, const Block& block, const float* fields,
                   int64_t point, int64_t panel, int64_t panel_count, float* products) {
  const PackedConvolution& layer = *call.layer;
  const PointRows place = RowsOf(layer.plan.kind, block, point);
  const float* rows[kMaxTiles];
  int64_t row = 0;
  for (int64_t z = 0; z < block.tiles[0]; ++z) {
    for (int64_t y = 0; y < block.tiles[1]; ++y) {
      const float* at = fields + place.offset + z * place.z_stride + y * place.y_stride;
      for (int64_t x = 0; x < block.tiles[2]; ++x) rows[row++] = at + x * block.channels;
    }
  }
  const float* panels =
      layer.panels.data() + (point * layer.panel_count() + panel) * layer.panel_stride();
  call.kernels->multiply(rows, row, layer.in_channels, panels, layer.panel_stride(), panel_count,
                         products + panel * kPanel, layer.out_channels);
}

// A block's position and extents.
struct BlockPlace {
  Block in;
  Block out;
  int64_t index[3];
};

BlockPlace PlaceOf(const PackedConvolution& layer, int64_t z, int64_t y, int64_t x) {
  return {layer.plan.BlockOf(layer.in_channels), layer.plan.BlockOf(layer.out_channels), {z, y, x}};
}

int64_t LinearIndex(const PackedConvolution& layer, const BlockPlace& place) {
  return (place.index[0] * layer.plan.BlocksAlong(1) + place.index[1]) * layer.plan.BlocksAlong(2) +
         place.index[2];
}

// Copies a run of voxels, through GroupNorm and ReLU where the layer before has them.
void ReadRun(const ConvolutionCall& call, const float* from, int64_t voxels, float* to) {
  const int64_t channels = call.in.channels;
  if (call.normalisation.scale == nullptr) {
    std::memcpy(to, from, static_cast<size_t>(voxels * channels) * sizeof(float));
    return;
  }
  call.kernels->normalise(from, voxels, channels, call.normalisation.scale,
                          call.normalisation.shift, to);
}

// Reads a block with one voxel around it; zero outside of the volume.
void ReadHalo(const ConvolutionCall& call, const BlockPlace& place, float* halo) {
  const ConvolutionKind kind = call.layer->plan.kind;
  const int64_t channels = call.in.channels;
  const int64_t size = call.in.size;
  int64_t first[3];
  int64_t extent[3];
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t tiles = place.in.tiles[axis];
    const int64_t voxels = kind == ConvolutionKind::kUp ? tiles : 2 * tiles;
    first[axis] = place.index[axis] * voxels - 1;
    extent[axis] = HaloExtent(kind, tiles);
  }
  const int64_t before = std::max<int64_t>(0, -first[2]);
  const int64_t after = std::max<int64_t>(0, first[2] + extent[2] - size);
  const int64_t inside = extent[2] - before - after;
  const auto clear = [channels](float* at, int64_t voxels) {
    std::memset(at, 0, static_cast<size_t>(voxels * channels) * sizeof(float));
  };
  for (int64_t dz = 0; dz < extent[0]; ++dz) {
    const int64_t z = first[0] + dz;
    for (int64_t dy = 0; dy < extent[1]; ++dy) {
      const int64_t y = first[1] + dy;
      float* row = halo + (dz * extent[1] + dy) * extent[2] * channels;
      if (z < 0 || z >= size || y < 0 || y >= size) {
        clear(row, extent[2]);
        continue;
      }
      const float* from =
          call.in.Plane(z) + y * call.in.row_stride() + (first[2] + before) * channels;
      clear(row, before);
      ReadRun(call, from, inside, row + before * channels);
      clear(row + (before + inside) * channels, after);
    }
  }
}

void TransformInput(const ConvolutionCall& call, const BlockPlace& place, float* halo,
                    float* fields) {
  ReadHalo(call, place, halo);
  const bool up = call.layer->plan.kind == ConvolutionKind::kUp;
  (up ? call.kernels->transform_input_up : call.kernels->transform_input_same)(place.in, halo,
                                                                               fields);
}

void TransformOutput(const ConvolutionCall& call, const BlockPlace& place, const float* products,
                     int64_t point_stride) {
  const PackedConvolution& layer = *call.layer;
  BlockOutput out;
  if (call.out.data != nullptr) {
    out.z_stride = call.out.plane_stride();
    out.y_stride = call.out.row_stride();
    out.voxels = call.out.Plane(place.index[0] * 2 * place.out.tiles[0]) +
                 place.index[1] * 2 * place.out.tiles[1] * out.y_stride +
                 place.index[2] * 2 * place.out.tiles[2] * layer.out_channels;
  }
  if (call.block_sums != nullptr) {
    out.sum = call.block_sums + LinearIndex(layer, place) * 2 * layer.out_channels;
    out.sum_of_squares = out.sum + layer.out_channels;
  }
  const bool up = layer.plan.kind == ConvolutionKind::kUp;
  (up ? call.kernels->transform_output_up : call.kernels->transform_output_same)(
      place.out, products, point_stride, layer.bias.data(), out);
}

int64_t FieldsFloats(const PackedConvolution& layer) {
  const Block block = layer.plan.BlockOf(layer.in_channels);
  return FieldCount(layer.plan.kind) * FieldFloats(layer.plan.kind, block);
}

int64_t ProductFloats(const PackedConvolution& layer) {
  const Block block = layer.plan.BlockOf(layer.out_channels);
  return layer.plan.points() * TilesOf(block) * layer.out_channels;
}

}  // namespace

ConvolutionMode PreferredMode(const PackedConvolution& layer) {
  return layer.in_channels >= kPhaseChannels ? ConvolutionMode::kPhases : ConvolutionMode::kBlocks;
}

int64_t ScratchFloats(const PackedConvolution& layer, ConvolutionMode mode) {
  const int64_t halo = HaloFloats(layer.plan.kind, layer.plan.BlockOf(layer.in_channels));
  if (mode == ConvolutionMode::kPhases) return halo;
  return halo + FieldsFloats(layer) + ProductFloats(layer);
}

int64_t SharedFloats(const PackedConvolution& layer, ConvolutionMode mode) {
  if (mode == ConvolutionMode::kBlocks) return 0;
  return std::min(kPhaseBlocks, layer.plan.BlockCount()) *
         (FieldsFloats(layer) + ProductFloats(layer));
}

int64_t BlockSumFloats(const PackedConvolution& layer) {
  return layer.plan.BlockCount() * 2 * layer.out_channels;
}

void RunBlocks(const ConvolutionCall& call, int64_t z_begin, int64_t z_end, Parallel parallel) {
  const PackedConvolution& layer = *call.layer;
  const int64_t rows = layer.plan.BlocksAlong(1);
  const int64_t halo_floats = HaloFloats(layer.plan.kind, layer.plan.BlockOf(layer.in_channels));
  // A piece is a row of blocks along x.
  parallel((z_end - z_begin) * rows, [&](int64_t piece, float* scratch) {
    float* fields = scratch + halo_floats;
    float* products = fields + FieldsFloats(layer);
    for (int64_t x = 0; x < layer.plan.BlocksAlong(2); ++x) {
      const BlockPlace place = PlaceOf(layer, z_begin + piece / rows, piece % rows, x);
      const int64_t point_stride = TilesOf(place.out) * layer.out_channels;
      TransformInput(call, place, scratch, fields);
      for (int64_t point = 0; point < layer.plan.points(); ++point) {
        MultiplyPoint(call, place.in, fields, point, 0, layer.panel_count(),
                      products + point * point_stride);
      }
      TransformOutput(call, place, products, point_stride);
    }
  });
}

void RunPhases(const ConvolutionCall& call, float* shared, Parallel parallel) {
  const PackedConvolution& layer = *call.layer;
  const ConvolutionPlan& plan = layer.plan;
  const int64_t fields_floats = FieldsFloats(layer);
  const int64_t block_floats = TilesOf(plan.BlockOf(layer.out_channels)) * layer.out_channels;
  const int64_t groups = (layer.panel_count() + kPhasePanels - 1) / kPhasePanels;
  const auto place_of = [&](int64_t block) {
    const int64_t row = block / plan.BlocksAlong(2);
    return PlaceOf(layer, row / plan.BlocksAlong(1), row % plan.BlocksAlong(1),
                   block % plan.BlocksAlong(2));
  };
  for (int64_t first = 0; first < plan.BlockCount(); first += kPhaseBlocks) {
    const int64_t count = std::min(kPhaseBlocks, plan.BlockCount() - first);
    float* products = shared + count * fields_floats;
    const int64_t point_stride = count * block_floats;
    parallel(count, [&](int64_t b, float* scratch) {
      TransformInput(call, place_of(first + b), scratch, shared + b * fields_floats);
    });
    parallel(plan.points() * groups, [&](int64_t piece, float*) {
      const int64_t point = piece / groups;
      const int64_t panel = piece % groups * kPhasePanels;
      const int64_t panels = std::min(kPhasePanels, layer.panel_count() - panel);
      for (int64_t b = 0; b < count; ++b) {
        MultiplyPoint(call, plan.BlockOf(layer.in_channels), shared + b * fields_floats, point,
                      panel, panels, products + point * point_stride + b * block_floats);
      }
    });
    parallel(count, [&](int64_t b, float*) {
      TransformOutput(call, place_of(first + b), products + b * block_floats, point_stride);
    });
  }
}

bool FinishNormalisation(const PackedConvolution& layer, const float* block_sums,
                         absl::Span<float> scale, absl::Span<float> shift) {
  const int64_t padded = layer.out_channels;
  const int64_t channels = layer.plan.out_channels;
  const int64_t per_group = channels / kGroups;
  double sums[kGroups] = {};
  double squares[kGroups] = {};
  for (int64_t block = 0; block < layer.plan.BlockCount(); ++block) {
    const float* sum = block_sums + block * 2 * padded;
    for (int64_t c = 0; c < channels; ++c) {
      sums[c / per_group] += static_cast<double>(sum[c]);
      squares[c / per_group] += static_cast<double>(sum[padded + c]);
    }
  }
  const double size = static_cast<double>(layer.plan.out_size());
  const double count = size * size * size * static_cast<double>(per_group);
  std::fill(scale.begin(), scale.end(), 0.0F);
  std::fill(shift.begin(), shift.end(), 0.0F);
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t group = c / per_group;
    const double mean = sums[group] / count;
    const double variance = std::max(0.0, squares[group] / count - mean * mean);
    if (!std::isfinite(mean) || !std::isfinite(variance)) return false;
    const auto at = static_cast<size_t>(c);
    const double factor =
        static_cast<double>(layer.gamma[at]) / std::sqrt(variance + kGroupNormEpsilon);
    scale[at] = static_cast<float>(factor);
    shift[at] = static_cast<float>(static_cast<double>(layer.beta[at]) - mean * factor);
  }
  return true;
}

}  // namespace synthvol::model
