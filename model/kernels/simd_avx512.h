// Sixteen floats at a time: AVX-512F (with AVX2 and FMA, which every such CPU has).
#ifndef SYNTHVOL_MODEL_KERNELS_SIMD_AVX512_H_
#define SYNTHVOL_MODEL_KERNELS_SIMD_AVX512_H_

#include <immintrin.h>

#include <cstdint>

#include "model/kernels/transpose_avx2.h"

namespace synthvol::model {
namespace {

struct Simd {
  using V = __m512;
  static constexpr int kWidth = 16;
  // 12 rows of 2 registers out of 32.
  static constexpr int kRows = 12;
  static constexpr int kPanels = 2;

  static V Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static V Broadcast(float x) { return _mm512_set1_ps(x); }
  static V Add(V a, V b) { return _mm512_add_ps(a, b); }
  static V Sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V Mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V Div(V a, V b) { return _mm512_div_ps(a, b); }
  static V Fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  // Rounded once.
  static V ExactFma(V a, V b, V c) { return Fma(a, b, c); }
  // b where a is not a number.
  static V Max(V a, V b) { return _mm512_max_ps(a, b); }
  static V Min(V a, V b) { return _mm512_min_ps(a, b); }
  static V Abs(V a) { return _mm512_abs_ps(a); }
  static V Trunc(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
  // 2^n for whole n in [-126, 127].
  static V PowerOfTwo(V n) {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
  }
  // a where x < y, else b.
  static V SelectLess(V x, V y, V a, V b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), b, a);
  }
  // |a| with the sign of b.
  static V CopySign(V a, V b) {
    const __m512i sign = _mm512_set1_epi32(INT32_MIN);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_andnot_si512(sign, _mm512_castps_si512(a)),
                                               _mm512_and_si512(sign, _mm512_castps_si512(b))));
  }
  // even0 odd0 even1 odd1 ...
  static void Interleave(V even, V odd, V& first, V& second) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    first = _mm512_permutex2var_ps(even, low, odd);
    second = _mm512_permutex2var_ps(even, high, odd);
  }
  // Whole numbers in the range of int16.
  static void StoreInt16(int16_t* p, V v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_cvttps_epi32(v)));
  }
  static float Sum(V v) { return _mm512_reduce_add_ps(v); }
  // Normalises 8 voxels of 8 channels and writes them as 8 channels of 8 voxels.
  static void NormaliseTransposed(const float* in, int64_t stride, const float* scale,
                                  const float* shift, float* out, int64_t out_stride) {
    NormaliseTransposedAvx2(in, stride, scale, shift, out, out_stride);
  }
};

}  // namespace
}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_SIMD_AVX512_H_
