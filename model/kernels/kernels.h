// The arithmetic of the CPU engine: one table of plain functions per instruction set, chosen at run
// time. Pointers and sizes only; no allocation, no threads.
//
// All functions are pure in the sense that matters for reproducible bytes: an output element
// depends on its inputs only, never on how many rows, voxels or panels a call covers.
//
// Activations are channels-last, `[z][y][x][channel]`, channels padded with zeros to a multiple of
// kPanel.
#ifndef SYNTHVOL_MODEL_KERNELS_KERNELS_H_
#define SYNTHVOL_MODEL_KERNELS_KERNELS_H_

#include <cstdint>
#include <vector>

namespace synthvol::model {

// Columns of a weight panel, and the multiple to which channels are padded.
inline constexpr int64_t kPanel = 16;

// A convolution is computed in tiles of 2x2x2 outputs with fewer products than taps
// (docs/inference.md). kUp: nearest x2, then k3 p1. Along an axis 3 products give 2 outputs of 1
// input. kSame: k3 p1. Along an axis 4 products give 2 outputs: Winograd's F(2,3).
enum class ConvolutionKind { kUp, kSame };

// Products along one axis of a tile.
constexpr int64_t PointsOf(ConvolutionKind kind) { return kind == ConvolutionKind::kUp ? 3 : 4; }

// A block of tiles as the transforms see it; extents are [z, y, x].
struct Block {
  int64_t tiles[3];
  int64_t channels;
  // Values between a field of kSame and the next one.
  int64_t field_padding = 0;
};

// Where a block's outputs go, and what is known about them afterwards.
struct BlockOutput {
  // Voxel (0, 0, 0) of the block; null when only the statistics are wanted.
  float* voxels = nullptr;
  // Floats between neighbours along z and y; along x it is `channels`.
  int64_t z_stride = 0;
  int64_t y_stride = 0;
  // Sums of values and of squares over the block, [channels] each; null when not wanted.
  float* sum = nullptr;
  float* sum_of_squares = nullptr;
};

// Scaling of a finished voxel to stored units, as imaging::Window::ToStored.
struct StoredScale {
  float half_range;
  float centre;
};

struct Kernels {
  const char* name;

  // out[r][p * kPanel + j] = sum over i of rows[r][i] * panels[p][i][j], in the order of i.
  // rows: `row_count` pointers to k values; panels: [panel_count][k][kPanel], `panel_stride` floats
  // apart; out rows are `out_stride` floats apart.
  void (*multiply)(const float* const* rows, int64_t row_count, int64_t k, const float* panels,
                   int64_t panel_stride, int64_t panel_count, float* out, int64_t out_stride);

  // Returns the dot product of two vectors of n values, n a multiple of kPanel.
  float (*dot)(const float* a, const float* b, int64_t n);

  // out = max(in * scale[channel] + shift[channel], 0) over `voxels` voxels: GroupNorm and ReLU.
  void (*normalise)(const float* in, int64_t voxels, int64_t channels, const float* scale,
                    const float* shift, float* out);

  // kUp: halo [tz+2][ty+2][tx+2][channels], its first voxel one before the block, to the 8 fields
  // [8][tz+1][ty+1][tx+1][channels]: field bit 2, 1, 0 set means a difference to the voxel before
  // along z, y, x.
  void (*transform_input_up)(const Block& block, const float* halo, float* fields);
  // kSame: halo [2tz+2][2ty+2][2tx+2][channels] to [64][tz][ty][tx][channels], the fields
  // field_padding apart.
  void (*transform_input_same)(const Block& block, const float* halo, float* fields);

  // Products [points^3][tz][ty][tx][channels], points `point_stride` floats apart, to 2x2x2 outputs
  // a tile with `bias` [channels] added; statistics are overwritten.
  void (*transform_output_up)(const Block& block, const float* products, int64_t point_stride,
                              const float* bias, const BlockOutput& out);
  void (*transform_output_same)(const Block& block, const float* products, int64_t point_stride,
                                const float* bias, const BlockOutput& out);

  // The last layer. Normalises a row of `voxels` voxels (a multiple of kPanel) and transposes it to
  // panels [voxels / kPanel][channels][kPanel].
  void (*pack_row)(const float* in, int64_t voxels, int64_t channels, const float* scale,
                   const float* shift, float* panels);
  // Three tap rows of n values to the outputs at even and odd columns:
  // even[x] = taps0[x-1] + (taps1[x] + taps2[x]), odd[x] = (taps0[x] + taps1[x]) + taps2[x+1].
  // taps0[-1] and taps2[n] are read: the caller keeps zeros there.
  void (*combine_columns)(const float* taps0, const float* taps1, const float* taps2, int64_t n,
                          float* even, float* odd);
  // out = a + (b + c) over n values, n a multiple of kPanel.
  void (*add3)(const float* a, const float* b, const float* c, int64_t n, float* out);
  // values[e] = tanh(a + (b + c) + bias): a, b, c are [2][n], the even columns and the odd ones;
  // out is [2n] in order.
  void (*finish_unit)(const float* a, const float* b, const float* c, int64_t n, float bias,
                      float* out);
  // The same, then scaled, clamped and rounded half away from zero.
  void (*finish_stored)(const float* a, const float* b, const float* c, int64_t n, float bias,
                        StoredScale scale, int16_t* out);
};

// What a convolution in bfloat16 does otherwise than in float: its fields and weights are bfloat16
// (the upper half of a float, rounded to nearest even), summed in float. A bfloat16 is held as its
// 16 bits.
struct Bf16Kernels {
  const char* name;

  // As Kernels::multiply for an even k, with panels [panel_count][k / 2][kPanel][2]; strides count
  // bfloat16 values, out_stride floats.
  void (*multiply)(const uint16_t* const* rows, int64_t row_count, int64_t k,
                   const uint16_t* panels, int64_t panel_stride, int64_t panel_count, float* out,
                   int64_t out_stride);
  // The dot product of n bfloat16 weights and n floats, n a multiple of kPanel.
  float (*dot)(const uint16_t* a, const float* b, int64_t n);
  // As in Kernels, computed in float and rounded where it is written.
  void (*transform_input_up)(const Block& block, const float* halo, uint16_t* fields);
  void (*transform_input_same)(const Block& block, const float* halo, uint16_t* fields);
};

// Returns the fastest table that this CPU runs. SYNTHVOL_CPU_KERNELS=portable|avx2|avx512 asks for
// a slower one; a table that the CPU cannot run is not taken.
const Kernels& BestKernels();
// Returns every table that this CPU runs, portable first.
std::vector<const Kernels*> AvailableKernels();
// Returns the bfloat16 table; null where the CPU lacks AVX512-BF16, or when SYNTHVOL_CPU_KERNELS
// asks for a slower table than avx512.
const Bf16Kernels* BestBf16Kernels();

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_KERNELS_H_
