// Where the halo, the fields and the rows of a block of tiles lie (docs/inference.md). Plain
// arithmetic, in values: fields are floats or bfloat16.
#ifndef SYNTHVOL_MODEL_INFERENCE_BLOCK_GEOMETRY_H_
#define SYNTHVOL_MODEL_INFERENCE_BLOCK_GEOMETRY_H_

#include <cstdint>

#include "model/kernels/kernels.h"

namespace synthvol::model {

// Tiles of a block, and products of a tile, at most.
inline constexpr int64_t kMaxTiles = 32;
inline constexpr int64_t kMaxPoints = 64;

inline int64_t TilesOf(const Block& block) {
  return block.tiles[0] * block.tiles[1] * block.tiles[2];
}

// Voxels a side of the halo of a block along an axis.
inline int64_t HaloExtent(ConvolutionKind kind, int64_t tiles) {
  return kind == ConvolutionKind::kUp ? tiles + 2 : 2 * tiles + 2;
}

inline int64_t HaloFloats(ConvolutionKind kind, const Block& block) {
  int64_t floats = block.channels;
  for (const int64_t tiles : block.tiles) floats *= HaloExtent(kind, tiles);
  return floats;
}

// Values of one field, and how many fields the input transform makes.
inline int64_t FieldSize(ConvolutionKind kind, const Block& block) {
  int64_t values = block.channels;
  for (const int64_t tiles : block.tiles)
    values *= kind == ConvolutionKind::kUp ? tiles + 1 : tiles;
  return values + block.field_padding;
}
inline int64_t FieldCount(ConvolutionKind kind) {
  return kind == ConvolutionKind::kUp ? 8 : kMaxPoints;
}

// Where in the fields the rows of a point lie.
struct PointRows {
  int64_t offset;    // values to tile (0, 0, 0)
  int64_t z_stride;  // values between tiles
  int64_t y_stride;
};

inline PointRows RowsOf(ConvolutionKind kind, const Block& block, int64_t point) {
  const int64_t channels = block.channels;
  if (kind == ConvolutionKind::kSame) {
    const int64_t y_stride = block.tiles[2] * channels;
    return {point * FieldSize(kind, block), block.tiles[1] * y_stride, y_stride};
  }
  // Points along an axis: 0 takes the difference to the voxel before, 1 the voxel, 2 the difference
  // of the voxel after.
  const int64_t axis[3] = {point / 9, point / 3 % 3, point % 3};
  const int64_t y_stride = (block.tiles[2] + 1) * channels;
  const int64_t z_stride = (block.tiles[1] + 1) * y_stride;
  const int64_t field = (axis[0] != 1 ? 4 : 0) + (axis[1] != 1 ? 2 : 0) + (axis[2] != 1 ? 1 : 0);
  const int64_t shift =
      (axis[0] == 2 ? z_stride : 0) + (axis[1] == 2 ? y_stride : 0) + (axis[2] == 2 ? channels : 0);
  return {field * FieldSize(kind, block) + shift, z_stride, y_stride};
}

// Lists the rows of a point, one a tile, in `rows` [kMaxTiles]; returns how many.
template <typename Field>
int64_t FillRows(ConvolutionKind kind, const Block& block, int64_t point, const Field* fields,
                 const Field** rows) {
  const PointRows place = RowsOf(kind, block, point);
  int64_t count = 0;
  for (int64_t z = 0; z < block.tiles[0]; ++z) {
    for (int64_t y = 0; y < block.tiles[1]; ++y) {
      const Field* at = fields + place.offset + z * place.z_stride + y * place.y_stride;
      for (int64_t x = 0; x < block.tiles[2]; ++x) rows[count++] = at + x * block.channels;
    }
  }
  return count;
}

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_BLOCK_GEOMETRY_H_
