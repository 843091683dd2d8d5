#include "model/inference/last_layer.h"

#include <algorithm>
#include <cstring>

namespace synthvol::model {
namespace {

// Rows of input that a piece renders. One more on either side is computed again.
constexpr int64_t kStripRows = 16;
constexpr int64_t kTaps = 27;

// The scratch of a piece, n = voxels a side of the input. Names as in docs/inference.md.
class Strip {
 public:
  Strip(const LastLayerCall& call, int64_t y_begin, float* scratch)
      : call_(call), n_(call.in.size), y_begin_(y_begin) {
    const auto take = [&scratch](int64_t floats) {
      float* at = scratch;
      scratch += floats;
      return at;
    };
    panels_ = take(n_ * call.layer->in_channels);
    taps_ = take(kTaps * TapStride());
    for (auto& row : columns_) row = take(9 * 2 * n_);
    current_ = take(3 * 4 * n_);
    before_ = take(kStripRows * 2 * 4 * n_);
    // The zeros around each row of taps stand for the voxels outside.
    std::memset(taps_, 0, static_cast<size_t>(kTaps * TapStride()) * sizeof(float));
  }

  static int64_t ScratchFloats(int64_t n, int64_t channels) {
    return n * channels + kTaps * (n + 2 * kPanel) + 3 * 18 * n + 12 * n + kStripRows * 8 * n;
  }

  void Render(int64_t z_begin, int64_t z_end) {
    for (int64_t z = z_begin - 1; z <= z_end; ++z) {
      // Of the planes beside the slab only one tap along z is needed.
      first_tap_z_ = z == z_end ? 2 : 0;
      const int64_t last_tap_z = z == z_begin - 1 ? 0 : 2;
      tap_count_z_ = last_tap_z - first_tap_z_ + 1;
      ComputeColumns(z, y_begin_ - 1);
      ComputeColumns(z, y_begin_);
      for (int64_t row = 0; row < kStripRows; ++row) {
        const int64_t y = y_begin_ + row;
        ComputeColumns(z, y + 1);
        CombineRows(y);
        float* before = before_ + row * 8 * n_;
        if (z > z_begin) Finish(2 * (z - z_begin) - 1, y, before, before + 4 * n_, Part(2));
        if (z >= z_begin && z < z_end) {
          Finish(2 * (z - z_begin), y, before, Part(1), Part(2));
        }
        // What the next plane needs of this one: taps 0 and 1 along z.
        std::memcpy(before, current_, static_cast<size_t>(8 * n_) * sizeof(float));
      }
    }
  }

 private:
  int64_t TapStride() const { return n_ + 2 * kPanel; }
  float* Tap(int64_t tap) { return taps_ + tap * TapStride() + kPanel; }
  // [z tap][y tap][even, odd][n] of input row y.
  float* Columns(int64_t y) { return columns_[(y + 3) % 3]; }
  // [y even, y odd][x even, x odd][n] of the current row, for a tap along z.
  float* Part(int64_t tap_z) { return current_ + tap_z * 4 * n_; }

  // Multiplies the taps with one row of voxels and combines them along x.
  void ComputeColumns(int64_t z, int64_t y) {
    float* columns = Columns(y);
    if (z < 0 || z >= n_ || y < 0 || y >= n_) {
      std::memset(columns, 0, static_cast<size_t>(18 * n_) * sizeof(float));
      return;
    }
    const Kernels& kernels = *call_.kernels;
    const int64_t channels = call_.layer->in_channels;
    kernels.pack_row(call_.in.Plane(z) + y * call_.in.row_stride(), n_, channels,
                     call_.normalisation.scale, call_.normalisation.shift, panels_);
    const float* rows[kTaps];
    const int64_t first = first_tap_z_ * 9;
    const int64_t count = tap_count_z_ * 9;
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = call_.layer->rows.data() + (first + i) * channels;
    }
    kernels.multiply(rows, count, channels, panels_, channels * kPanel, n_ / kPanel, Tap(first),
                     TapStride());
    for (int64_t line = first / 3; line < (first + count) / 3; ++line) {
      float* even = columns + line * 2 * n_;
      kernels.combine_columns(Tap(3 * line), Tap(3 * line + 1), Tap(3 * line + 2), n_, even,
                              even + n_);
    }
  }

  // Combines along y: output rows 2y and 2y + 1 of each tap along z.
  void CombineRows(int64_t y) {
    const Kernels& kernels = *call_.kernels;
    for (int64_t tap_z = first_tap_z_; tap_z < first_tap_z_ + tap_count_z_; ++tap_z) {
      const auto line = [&](int64_t row, int64_t tap_y) {
        return Columns(row) + (tap_z * 3 + tap_y) * 2 * n_;
      };
      float* part = Part(tap_z);
      kernels.add3(line(y - 1, 0), line(y, 1), line(y, 2), 2 * n_, part);
      kernels.add3(line(y, 0), line(y, 1), line(y + 1, 2), 2 * n_, part + 2 * n_);
    }
  }

  // Combines along z and writes two rows of slice `slice` of the slab.
  void Finish(int64_t slice, int64_t y, const float* a, const float* b, const float* c) {
    for (int64_t odd = 0; odd < 2; ++odd) {
      const int64_t at = (slice * 2 * n_ + 2 * y + odd) * 2 * n_;
      const int64_t part = odd * 2 * n_;
      if (call_.unit != nullptr) {
        call_.kernels->finish_unit(a + part, b + part, c + part, n_, call_.layer->bias,
                                   call_.unit + at);
      } else {
        call_.kernels->finish_stored(a + part, b + part, c + part, n_, call_.layer->bias,
                                     call_.scale, call_.stored + at);
      }
    }
  }

  const LastLayerCall& call_;
  const int64_t n_;
  const int64_t y_begin_;
  float* panels_;
  float* taps_;
  float* columns_[3];
  float* current_;
  float* before_;
  int64_t first_tap_z_ = 0;
  int64_t tap_count_z_ = 3;
};

}  // namespace

int64_t LastLayerScratchFloats(int64_t in_size, int64_t in_channels) {
  return Strip::ScratchFloats(in_size, in_channels);
}

void RunLastLayer(const LastLayerCall& call, int64_t z_begin, int64_t z_end, Parallel parallel) {
  parallel(call.in.size / kStripRows, [&](int64_t piece, float* scratch) {
    Strip(call, piece * kStripRows, scratch).Render(z_begin, z_end);
  });
}

}  // namespace synthvol::model
