// Eight floats at a time: AVX2 and FMA.
#ifndef SYNTHVOL_MODEL_KERNELS_SIMD_AVX2_H_
#define SYNTHVOL_MODEL_KERNELS_SIMD_AVX2_H_

#include <immintrin.h>

#include <cstdint>

#include "model/kernels/transpose_avx2.h"

namespace synthvol::model {
namespace {

struct Simd {
  using V = __m256;
  static constexpr int kWidth = 8;
  // 6 rows of 2 registers: 12 accumulators hide the latency of two FMAs a cycle.
  static constexpr int kRows = 6;
  static constexpr int kPanels = 1;

  static V Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static V Broadcast(float x) { return _mm256_set1_ps(x); }
  static V Add(V a, V b) { return _mm256_add_ps(a, b); }
  static V Sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static V Mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V Div(V a, V b) { return _mm256_div_ps(a, b); }
  static V Fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  // Rounded once.
  static V ExactFma(V a, V b, V c) { return Fma(a, b, c); }
  // b where a is not a number.
  static V Max(V a, V b) { return _mm256_max_ps(a, b); }
  static V Min(V a, V b) { return _mm256_min_ps(a, b); }
  static V Abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
  static V Trunc(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
  // 2^n for whole n in [-126, 127].
  static V PowerOfTwo(V n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
  // a where x < y, else b.
  static V SelectLess(V x, V y, V a, V b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
  }
  // |a| with the sign of b.
  static V CopySign(V a, V b) {
    const V sign = _mm256_set1_ps(-0.0F);
    return _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b));
  }
  // even0 odd0 even1 odd1 ...
  static void Interleave(V even, V odd, V& first, V& second) {
    const V low = _mm256_unpacklo_ps(even, odd);
    const V high = _mm256_unpackhi_ps(even, odd);
    first = _mm256_permute2f128_ps(low, high, 0x20);
    second = _mm256_permute2f128_ps(low, high, 0x31);
  }
  // Whole numbers in the range of int16.
  static void StoreInt16(int16_t* p, V v) {
    const __m256i wide = _mm256_cvttps_epi32(v);
    const __m128i packed =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }
  static float Sum(V v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  // Normalises 8 voxels of 8 channels and writes them as 8 channels of 8 voxels.
  static void NormaliseTransposed(const float* in, int64_t stride, const float* scale,
                                  const float* shift, float* out, int64_t out_stride) {
    NormaliseTransposedAvx2(in, stride, scale, shift, out, out_stride);
  }
};

}  // namespace
}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_SIMD_AVX2_H_
