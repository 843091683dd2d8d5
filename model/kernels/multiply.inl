// The register-blocked matrix product. Included by kernels_*.cc after a Simd type.
#include <cstdint>

#include "model/kernels/kernels.h"

namespace synthvol::model {
namespace {

// out[r][j] for kRowCount rows and kPanelCount panels, all accumulators in registers.
template <int kRowCount, int kPanelCount>
void MultiplyBlock(const float* const* rows, int64_t k, const float* panels, int64_t panel_stride,
                   float* out, int64_t out_stride) {
  using V = Simd::V;
  constexpr int kVectorsPerPanel = static_cast<int>(kPanel) / Simd::kWidth;
  constexpr int kVectors = kPanelCount * kVectorsPerPanel;
  V sums[kRowCount][kVectors];
  const float* row[kRowCount];
  for (int r = 0; r < kRowCount; ++r) {
    row[r] = rows[r];
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Simd::Broadcast(0.0F);
  }
  for (int64_t i = 0; i < k; ++i) {
    V columns[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = Simd::Load(panels + (v / kVectorsPerPanel) * panel_stride + i * kPanel +
                              (v % kVectorsPerPanel) * Simd::kWidth);
    }
    for (int r = 0; r < kRowCount; ++r) {
      const V value = Simd::Broadcast(row[r][i]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = Simd::Fma(value, columns[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRowCount; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      Simd::Store(out + r * out_stride + v * Simd::kWidth, sums[r][v]);
    }
  }
}

}  // namespace
}  // namespace synthvol::model

#include "model/kernels/multiply_tiling.inl"

namespace synthvol::model {
namespace {

float Dot(const float* a, const float* b, int64_t n) {
  constexpr int kSums = static_cast<int>(kPanel) / Simd::kWidth;
  Simd::V even[kSums];
  Simd::V odd[kSums];
  for (int s = 0; s < kSums; ++s) even[s] = odd[s] = Simd::Broadcast(0.0F);
  int64_t i = 0;
  for (; i + 2 * kPanel <= n; i += 2 * kPanel) {
    for (int s = 0; s < kSums; ++s) {
      const int64_t at = i + s * Simd::kWidth;
      even[s] = Simd::Fma(Simd::Load(a + at), Simd::Load(b + at), even[s]);
      odd[s] = Simd::Fma(Simd::Load(a + at + kPanel), Simd::Load(b + at + kPanel), odd[s]);
    }
  }
  for (; i < n; i += Simd::kWidth) {
    even[0] = Simd::Fma(Simd::Load(a + i), Simd::Load(b + i), even[0]);
  }
  Simd::V total = Simd::Broadcast(0.0F);
  for (int s = 0; s < kSums; ++s) total = Simd::Add(total, Simd::Add(even[s], odd[s]));
  return Simd::Sum(total);
}

}  // namespace
}  // namespace synthvol::model
