// An 8x8 transpose in AVX2 registers, with GroupNorm and ReLU on the way. Shared by the AVX2 and
// the AVX-512 table.
#ifndef SYNTHVOL_MODEL_KERNELS_TRANSPOSE_AVX2_H_
#define SYNTHVOL_MODEL_KERNELS_TRANSPOSE_AVX2_H_

#include <immintrin.h>

#include <cstdint>

namespace synthvol::model {
namespace {

inline void NormaliseTransposedAvx2(const float* in, int64_t stride, const float* scale,
                                    const float* shift, float* out, int64_t out_stride) {
  const __m256 a = _mm256_loadu_ps(scale);
  const __m256 b = _mm256_loadu_ps(shift);
  __m256 rows[8];
  for (int i = 0; i < 8; ++i) {
    rows[i] =
        _mm256_max_ps(_mm256_fmadd_ps(_mm256_loadu_ps(in + i * stride), a, b), _mm256_setzero_ps());
  }
  // Pairs of rows, then of pairs, within each half; then the halves.
  __m256 quads[8];
  for (int i = 0; i < 2; ++i) {
    const __m256* r = rows + 4 * i;
    const __m256 low01 = _mm256_unpacklo_ps(r[0], r[1]);
    const __m256 high01 = _mm256_unpackhi_ps(r[0], r[1]);
    const __m256 low23 = _mm256_unpacklo_ps(r[2], r[3]);
    const __m256 high23 = _mm256_unpackhi_ps(r[2], r[3]);
    quads[4 * i + 0] = _mm256_shuffle_ps(low01, low23, 0x44);
    quads[4 * i + 1] = _mm256_shuffle_ps(low01, low23, 0xEE);
    quads[4 * i + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
    quads[4 * i + 3] = _mm256_shuffle_ps(high01, high23, 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * out_stride, _mm256_permute2f128_ps(quads[i], quads[4 + i], 0x20));
    _mm256_storeu_ps(out + (4 + i) * out_stride,
                     _mm256_permute2f128_ps(quads[i], quads[4 + i], 0x31));
  }
}

}  // namespace
}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_TRANSPOSE_AVX2_H_
