#include "model/kernels/upsample_taps.h"

#include <algorithm>

#include "model/kernels/bf16.h"
#include "model/kernels/widest_vectors.h"

namespace synthvol::model {
namespace {

SYNTHVOL_INLINE float Load(float value) { return value; }
SYNTHVOL_INLINE float Load(uint16_t value) { return FromBf16(value); }
SYNTHVOL_INLINE void Store(float value, float& to) { to = value; }
SYNTHVOL_INLINE void Store(float value, uint16_t& to) { to = ToBf16(value); }

// Rows of three taps along x to the outputs at even and odd columns.
template <typename T>
SYNTHVOL_INLINE void FoldRow(const T* t0, const T* t1, const T* t2, int64_t width, float* even,
                             float* odd) {
  even[0] = Load(t1[0]) + Load(t2[0]);
  for (int64_t x = 1; x < width; ++x) even[x] = Load(t0[x - 1]) + (Load(t1[x]) + Load(t2[x]));
  for (int64_t x = 0; x + 1 < width; ++x) odd[x] = (Load(t0[x]) + Load(t1[x])) + Load(t2[x + 1]);
  odd[width - 1] = Load(t0[width - 1]) + Load(t1[width - 1]);
}

// Three tap planes [2,H,W] along y, each [column parity][row], to [2,2,H,W]: row parity, column
// parity.
SYNTHVOL_INLINE void FoldRows(const float* taps, int64_t height, int64_t width, float* out) {
  const int64_t plane = height * width;
  for (int64_t parity = 0; parity < 2; ++parity) {
    const float* t0 = taps + parity * plane;
    const float* t1 = t0 + 2 * plane;
    const float* t2 = t1 + 2 * plane;
    float* even = out + parity * plane;
    float* odd = even + 2 * plane;
    // Rows are contiguous, so a step of one row is a step of `width` floats.
    for (int64_t i = 0; i < width; ++i) even[i] = t1[i] + t2[i];
    for (int64_t i = width; i < plane; ++i) even[i] = t0[i - width] + (t1[i] + t2[i]);
    for (int64_t i = 0; i < plane - width; ++i) odd[i] = (t0[i] + t1[i]) + t2[i + width];
    for (int64_t i = plane - width; i < plane; ++i) odd[i] = t0[i] + t1[i];
  }
}

// Puts sums [2,2,H,W] into their places of an output plane [2H,2W].
template <typename Sum>
SYNTHVOL_INLINE void Interleave(int64_t height, int64_t width, Sum sum, float* out) {
  const int64_t plane = height * width;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t parity = 0; parity < 2; ++parity) {
      float* row = out + (2 * y + parity) * 2 * width;
      const int64_t at = 2 * parity * plane + y * width;
      for (int64_t x = 0; x < width; ++x) {
        row[2 * x] = sum(at + x);
        row[2 * x + 1] = sum(at + plane + x);
      }
    }
  }
}

template <typename T>
SYNTHVOL_INLINE void Fold(const T* taps, int64_t tap_stride, const GridShape& grid, float bias,
                          float* scratch, float* out) {
  const auto [depth, height, width] = grid;
  const int64_t plane = height * width;
  float* along_x = scratch;              // [3,2,H,W]: tap along y, column parity
  float* along_y = along_x + 6 * plane;  // [3][2,2,H,W]: tap along z
  float* pending = along_y + 12 * plane;
  float* before = pending + 4 * plane;
  std::fill(before, before + 4 * plane, 0.0F);
  for (int64_t z = 0; z < depth; ++z) {
    for (int64_t a = 0; a < 3; ++a) {
      for (int64_t b = 0; b < 3; ++b) {
        const T* t = taps + (9 * a + 3 * b) * tap_stride + z * plane;
        float* even = along_x + 2 * b * plane;
        for (int64_t y = 0; y < height; ++y) {
          FoldRow(t + y * width, t + tap_stride + y * width, t + 2 * tap_stride + y * width, width,
                  even + y * width, even + plane + y * width);
        }
      }
      FoldRows(along_x, height, width, along_y + 4 * a * plane);
    }
    const float* v0 = along_y;
    const float* v1 = v0 + 4 * plane;
    const float* v2 = v1 + 4 * plane;
    float* even = out + 2 * z * 4 * plane;
    if (z > 0) {
      Interleave(
          height, width, [&](int64_t i) { return pending[i] + v2[i]; }, even - 4 * plane);
    }
    Interleave(
        height, width, [&](int64_t i) { return (before[i] + (v1[i] + v2[i])) + bias; }, even);
    for (int64_t i = 0; i < 4 * plane; ++i) {
      before[i] = v0[i];
      pending[i] = (v0[i] + v1[i]) + bias;
    }
  }
  Interleave(
      height, width, [&](int64_t i) { return pending[i]; }, out + (2 * depth - 1) * 4 * plane);
}

// Sums two gradient planes [2H,2W], either of which may be null, into [2,2H,W]: column parity.
SYNTHVOL_INLINE void AddPlanes(const float* first, const float* second, int64_t rows, int64_t width,
                               float* out) {
  if (first == nullptr) std::swap(first, second);
  float* odd = out + rows * width;
  if (second == nullptr) {
    for (int64_t i = 0; i < rows * width; ++i) {
      out[i] = first[2 * i];
      odd[i] = first[2 * i + 1];
    }
    return;
  }
  for (int64_t i = 0; i < rows * width; ++i) {
    out[i] = first[2 * i] + second[2 * i];
    odd[i] = first[2 * i + 1] + second[2 * i + 1];
  }
}

// Gradient rows at even and odd columns to those of three taps.
template <typename T>
SYNTHVOL_INLINE void UnfoldRow(const float* even, const float* odd, int64_t width, T* t0, T* t1,
                               T* t2) {
  for (int64_t x = 0; x + 1 < width; ++x) Store(odd[x] + even[x + 1], t0[x]);
  Store(odd[width - 1], t0[width - 1]);
  for (int64_t x = 0; x < width; ++x) Store(even[x] + odd[x], t1[x]);
  Store(even[0], t2[0]);
  for (int64_t x = 1; x < width; ++x) Store(odd[x - 1] + even[x], t2[x]);
}

template <typename T>
SYNTHVOL_INLINE void Unfold(const float* gradient, const GridShape& grid, float* scratch, T* taps,
                            int64_t tap_stride) {
  const auto [depth, height, width] = grid;
  const int64_t plane = height * width;
  float* sums = scratch;              // [2,2H,W]
  float* rows = scratch + 4 * plane;  // [2,W]
  const auto gradient_plane = [&](int64_t k) {
    return k < 0 || k >= 2 * depth ? nullptr : gradient + k * 4 * plane;
  };
  for (int64_t z = 0; z < depth; ++z) {
    for (int64_t a = 0; a < 3; ++a) {
      // Tap a of voxel i feeds the outputs 2i+1-a and 2i+2-a.
      AddPlanes(gradient_plane(2 * z + 1 - a), gradient_plane(2 * z + 2 - a), 2 * height, width,
                sums);
      for (int64_t y = 0; y < height; ++y) {
        for (int64_t b = 0; b < 3; ++b) {
          const int64_t first = std::max<int64_t>(2 * y + 1 - b, 0);
          const int64_t second = std::min(2 * y + 2 - b, 2 * height - 1);
          for (int64_t parity = 0; parity < 2; ++parity) {
            const float* in = sums + parity * 2 * plane;
            float* out = rows + parity * width;
            // A row beyond the edge is no second summand.
            const float share = first == second ? 0.0F : 1.0F;
            for (int64_t x = 0; x < width; ++x) {
              out[x] = in[first * width + x] + share * in[second * width + x];
            }
          }
          T* t = taps + (9 * a + 3 * b) * tap_stride + z * plane + y * width;
          UnfoldRow(rows, rows + width, width, t, t + tap_stride, t + 2 * tap_stride);
        }
      }
    }
  }
}

}  // namespace

int64_t TapScratchFloats(const GridShape& grid) { return 26 * grid.height * grid.width; }

void FoldTaps(const float* taps, int64_t tap_stride, const GridShape& grid, float bias,
              float* scratch, float* out) {
  RunWithWidestVectors<Fold<float>>(taps, tap_stride, grid, bias, scratch, out);
}
void FoldTaps(const uint16_t* taps, int64_t tap_stride, const GridShape& grid, float bias,
              float* scratch, float* out) {
  RunWithWidestVectors<Fold<uint16_t>>(taps, tap_stride, grid, bias, scratch, out);
}
void UnfoldTaps(const float* gradient, const GridShape& grid, float* scratch, float* taps,
                int64_t tap_stride) {
  RunWithWidestVectors<Unfold<float>>(gradient, grid, scratch, taps, tap_stride);
}
void UnfoldTaps(const float* gradient, const GridShape& grid, float* scratch, uint16_t* taps,
                int64_t tap_stride) {
  RunWithWidestVectors<Unfold<uint16_t>>(gradient, grid, scratch, taps, tap_stride);
}

}  // namespace synthvol::model
