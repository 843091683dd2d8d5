// The CPU side of "upsample x2 (nearest), then convolve k3 p1" in training (docs/training.md). The
// matrix product of the 27 taps with the map comes first, on the small grid; what is left is to add
// each tap where the upsampled grid needs it. That is 27 products for 8 outputs instead of 216.
//
// Along one axis, with t the three taps of an input voxel:
//   even[i] = t0[i-1] + t1[i] + t2[i]        odd[i] = t0[i] + t1[i] + t2[i+1]
//
// Taps are floats, or bfloat16 held as its 16 bits (bf16.h), summed in float either way.
//
// Pointers and sizes only; no allocation, no threads. Each function runs the widest vectors that
// the CPU has.
#ifndef SYNTHVOL_MODEL_KERNELS_UPSAMPLE_TAPS_H_
#define SYNTHVOL_MODEL_KERNELS_UPSAMPLE_TAPS_H_

#include <cstdint>

#include "model/kernels/grid_shape.h"

namespace synthvol::model {

// Floats of scratch that either function needs; `grid` is the map's before upsampling.
int64_t TapScratchFloats(const GridShape& grid);

// Adds up one output channel: `taps` holds 27 maps [D,H,W] in the order of the kernel's [3,3,3],
// `tap_stride` elements apart; `out` is [2D,2H,2W] and starts from `bias`.
void FoldTaps(const float* taps, int64_t tap_stride, const GridShape& grid, float bias,
              float* scratch, float* out);
void FoldTaps(const uint16_t* taps, int64_t tap_stride, const GridShape& grid, float bias,
              float* scratch, float* out);

// The transposed map: from the gradient [2D,2H,2W] of one output channel to that of its 27 taps.
void UnfoldTaps(const float* gradient, const GridShape& grid, float* scratch, float* taps,
                int64_t tap_stride);
void UnfoldTaps(const float* gradient, const GridShape& grid, float* scratch, uint16_t* taps,
                int64_t tap_stride);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_UPSAMPLE_TAPS_H_
