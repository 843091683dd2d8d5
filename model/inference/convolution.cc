#include "model/inference/convolution.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/inference/block_geometry.h"

namespace synthvol::model {
namespace {

// Blocks that share one reading of the weights in kPhases.
constexpr int64_t kPhaseBlocks = 8;
// Panels of weights that a piece of kPhases keeps in its second-level cache.
constexpr int64_t kPhasePanels = 4;
// From so many input channels on, a block's weights no longer fit the caches.
constexpr int64_t kPhaseChannels = 256;

// Whether the fields of the layer, and its weights, are bfloat16 in this call.
bool IsBf16(const ConvolutionCall& call) { return call.bf16 != nullptr && call.layer->has_bf16(); }

// Multiplies the rows of one point of one block with `panel_count` panels from `panel` on. Fields
// of bfloat16 begin where those of floats would.
void MultiplyPoint(const ConvolutionCall& call, const Block& block, const float* fields,
                   int64_t point, int64_t panel, int64_t panel_count, float* products) {
  const PackedConvolution& layer = *call.layer;
  const int64_t offset = (point * layer.panel_count() + panel) * layer.panel_stride();
  const auto multiply = [&](const auto& kernel, const auto* from, const auto* panels) {
    decltype(from) rows[kMaxTiles];
    const int64_t count = FillRows(layer.plan.kind, block, point, from, rows);
    kernel(rows, count, layer.in_channels, panels + offset, layer.panel_stride(), panel_count,
           products + panel * kPanel, layer.out_channels);
  };
  if (IsBf16(call)) {
    multiply(call.bf16->multiply, reinterpret_cast<const uint16_t*>(fields), layer.bf16_panels());
  } else {
    multiply(call.kernels->multiply, fields, layer.panels.data());
  }
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
  if (IsBf16(call)) {
    (up ? call.bf16->transform_input_up : call.bf16->transform_input_same)(
        place.in, halo, reinterpret_cast<uint16_t*>(fields));
  } else {
    (up ? call.kernels->transform_input_up : call.kernels->transform_input_same)(place.in, halo,
                                                                                 fields);
  }
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
  return FieldCount(layer.plan.kind) * FieldSize(layer.plan.kind, block);
}

// Floats from the products of a point to those of the next, for so many blocks. A power of two
// would put a tile's products into the same few sets of the caches.
int64_t PointStride(const PackedConvolution& layer, int64_t blocks) {
  const Block block = layer.plan.BlockOf(layer.out_channels);
  return blocks * TilesOf(block) * layer.out_channels + kPanel;
}

}  // namespace

ConvolutionMode PreferredMode(const PackedConvolution& layer) {
  return layer.in_channels >= kPhaseChannels ? ConvolutionMode::kPhases : ConvolutionMode::kBlocks;
}

int64_t ScratchFloats(const PackedConvolution& layer, ConvolutionMode mode) {
  const int64_t halo = HaloFloats(layer.plan.kind, layer.plan.BlockOf(layer.in_channels));
  if (mode == ConvolutionMode::kPhases) return halo;
  return halo + FieldsFloats(layer) + layer.plan.points() * PointStride(layer, 1);
}

int64_t SharedFloats(const PackedConvolution& layer, ConvolutionMode mode) {
  if (mode == ConvolutionMode::kBlocks) return 0;
  const int64_t blocks = std::min(kPhaseBlocks, layer.plan.BlockCount());
  return blocks * FieldsFloats(layer) + layer.plan.points() * PointStride(layer, blocks);
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
      const int64_t point_stride = PointStride(layer, 1);
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
    const int64_t point_stride = PointStride(layer, count);
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
