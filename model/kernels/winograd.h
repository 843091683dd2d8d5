// The transforms of Winograd's F(2x2x2, 3x3x3) (Lavin and Gray 2016, section 4) on channel-first
// maps, for training: a tile of 2x2x2 outputs of "convolve k3 p1" takes 64 products instead of 216.
//
// Along one axis, with d the four inputs of a tile, m its four products and g its two gradients:
//   points   d0 - d2, d1 + d2, d2 - d1, d1 - d3
//   outputs  m0 + m1 + m2, m1 - m2 - m3
//   gradient g0, g0 + g1, g0 - g1, -g1        (the transposed map of the outputs)
//
// Pointers and sizes only; no allocation, no threads. Each function runs the widest vectors that
// the CPU has.
#ifndef SYNTHVOL_MODEL_KERNELS_WINOGRAD_H_
#define SYNTHVOL_MODEL_KERNELS_WINOGRAD_H_

#include <cstdint>

#include "model/kernels/grid_shape.h"

namespace synthvol::model {

inline constexpr int64_t kWinogradPoints = 64;

// Some rows of tiles of one plane of tiles. All extents of the grid are even.
struct TileBlock {
  GridShape grid;
  int64_t plane;      // of D/2
  int64_t first_row;  // of H/2
  int64_t rows;
  int64_t tiles() const { return rows * (grid.width / 2); }
};

// Floats of scratch that each function needs for such a block.
int64_t WinogradScratchFloats(const TileBlock& block);

// Transforms one channel [D,H,W] to the 64 points of its tiles: [64][tiles], the points
// `point_stride` floats apart. What lies beyond the map is zero.
void WinogradInput(const float* map, const TileBlock& block, float* scratch, float* points,
                   int64_t point_stride);
// Transforms the products of one channel to its outputs in `map` [D,H,W], with `bias` added.
void WinogradOutput(const float* points, int64_t point_stride, const TileBlock& block, float bias,
                    float* scratch, float* map);
// Transforms the gradient of one channel's outputs to that of its products.
void WinogradGradient(const float* map, const TileBlock& block, float* scratch, float* points,
                      int64_t point_stride);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_WINOGRAD_H_
