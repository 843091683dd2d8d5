// How a matrix product is cut into blocks of rows and panels, for any type of value. Included after
// MultiplyBlock<rows, panels>, which takes one block.
#include <cstdint>

#include "model/kernels/kernels.h"

namespace synthvol::model {
namespace {

// Takes the block of `row_count` rows, 1 to kRowCount.
template <int kRowCount, int kPanelCount, typename T>
void MultiplyRows(int64_t row_count, const T* const* rows, int64_t k, const T* panels,
                  int64_t panel_stride, float* out, int64_t out_stride) {
  if constexpr (kRowCount > 1) {
    if (row_count < kRowCount) {
      return MultiplyRows<kRowCount - 1, kPanelCount>(row_count, rows, k, panels, panel_stride, out,
                                                      out_stride);
    }
  }
  MultiplyBlock<kRowCount, kPanelCount>(rows, k, panels, panel_stride, out, out_stride);
}

template <int kPanelCount, typename T>
void MultiplyPanels(const T* const* rows, int64_t row_count, int64_t k, const T* panels,
                    int64_t panel_stride, float* out, int64_t out_stride) {
  // Blocks as equal as can be: a last block of one row would wait for its few accumulators.
  const int64_t blocks = (row_count + Simd::kRows - 1) / Simd::kRows;
  int64_t first = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t count = row_count / blocks + (b < row_count % blocks ? 1 : 0);
    MultiplyRows<Simd::kRows, kPanelCount>(count, rows + first, k, panels, panel_stride,
                                           out + first * out_stride, out_stride);
    first += count;
  }
}

template <typename T>
void Multiply(const T* const* rows, int64_t row_count, int64_t k, const T* panels,
              int64_t panel_stride, int64_t panel_count, float* out, int64_t out_stride) {
  int64_t p = 0;
  for (; p + Simd::kPanels <= panel_count; p += Simd::kPanels) {
    MultiplyPanels<Simd::kPanels>(rows, row_count, k, panels + p * panel_stride, panel_stride,
                                  out + p * kPanel, out_stride);
  }
  for (; p < panel_count; ++p) {
    MultiplyPanels<1>(rows, row_count, k, panels + p * panel_stride, panel_stride, out + p * kPanel,
                      out_stride);
  }
}

}  // namespace
}  // namespace synthvol::model
