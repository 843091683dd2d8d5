// The register-blocked matrix product of bfloat16 values, and what stores and reads them:
// AVX512-BF16. Included by kernels_avx512bf16.cc after simd_avx512.h.
#include <immintrin.h>

#include <cstdint>

#include "model/kernels/kernels.h"

namespace synthvol::model {
namespace {

inline void StoreField(uint16_t* p, Simd::V v) {
  const __m256bh rounded = _mm512_cvtneps_pbh(v);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(rounded));
}

// Two neighbours of a row to all lanes.
inline __m512bh BroadcastPair(const uint16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof(pair));
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

// out[r][j] for kRowCount rows and kPanelCount panels, all accumulators in registers.
template <int kRowCount, int kPanelCount>
void MultiplyBlock(const uint16_t* const* rows, int64_t k, const uint16_t* panels,
                   int64_t panel_stride, float* out, int64_t out_stride) {
  __m512 sums[kRowCount][kPanelCount];
  const uint16_t* row[kRowCount];
  for (int r = 0; r < kRowCount; ++r) {
    row[r] = rows[r];
    for (int p = 0; p < kPanelCount; ++p) sums[r][p] = _mm512_setzero_ps();
  }
  for (int64_t i = 0; i < k; i += 2) {
    __m512bh columns[kPanelCount];
    for (int p = 0; p < kPanelCount; ++p) {
      columns[p] =
          reinterpret_cast<__m512bh>(_mm512_loadu_si512(panels + p * panel_stride + i * kPanel));
    }
    for (int r = 0; r < kRowCount; ++r) {
      const __m512bh pair = BroadcastPair(row[r] + i);
      for (int p = 0; p < kPanelCount; ++p) {
        sums[r][p] = _mm512_dpbf16_ps(sums[r][p], pair, columns[p]);
      }
    }
  }
  for (int r = 0; r < kRowCount; ++r) {
    for (int p = 0; p < kPanelCount; ++p) {
      _mm512_storeu_ps(out + r * out_stride + p * kPanel, sums[r][p]);
    }
  }
}

}  // namespace
}  // namespace synthvol::model

#include "model/kernels/multiply_tiling.inl"

namespace synthvol::model {
namespace {

// Sixteen weights as floats: their bits are a float's upper half.
inline __m512 LoadBf16(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

float DotBf16(const uint16_t* a, const float* b, int64_t n) {
  constexpr int kSums = 4;
  __m512 sums[kSums];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  int64_t i = 0;
  for (; i + kSums * kPanel <= n; i += kSums * kPanel) {
    for (int s = 0; s < kSums; ++s) {
      const int64_t at = i + s * kPanel;
      sums[s] = _mm512_fmadd_ps(LoadBf16(a + at), _mm512_loadu_ps(b + at), sums[s]);
    }
  }
  for (; i < n; i += kPanel) {
    sums[0] = _mm512_fmadd_ps(LoadBf16(a + i), _mm512_loadu_ps(b + i), sums[0]);
  }
  return _mm512_reduce_add_ps(
      _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

}  // namespace
}  // namespace synthvol::model
