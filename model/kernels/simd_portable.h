// Four floats at a time through the compiler's vector extension: runs on any CPU.
#ifndef SYNTHVOL_MODEL_KERNELS_SIMD_PORTABLE_H_
#define SYNTHVOL_MODEL_KERNELS_SIMD_PORTABLE_H_

#include <cstdint>
#include <cstring>

namespace synthvol::model {
namespace {

struct Simd {
  using V = float __attribute__((vector_size(16)));
  using I = int32_t __attribute__((vector_size(16)));
  static constexpr int kWidth = 4;
  // Rows and panels of the register block of `multiply`.
  static constexpr int kRows = 2;
  static constexpr int kPanels = 1;

  static V Load(const float* p) {
    V v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static void Store(float* p, V v) { std::memcpy(p, &v, sizeof(v)); }
  static V Broadcast(float x) { return V{x, x, x, x}; }
  static V Add(V a, V b) { return a + b; }
  static V Sub(V a, V b) { return a - b; }
  static V Mul(V a, V b) { return a * b; }
  static V Div(V a, V b) { return a / b; }
  static V Fma(V a, V b, V c) { return a * b + c; }
  // Rounded once, also where the CPU lacks the instruction.
  static V ExactFma(V a, V b, V c) {
    V out{};
    for (int i = 0; i < kWidth; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return out;
  }
  // b where a is not a number.
  static V Max(V a, V b) { return a > b ? a : b; }
  static V Min(V a, V b) { return a < b ? a : b; }
  static V Abs(V a) { return a < 0.0F ? -a : a; }
  // Towards zero; |a| < 2^31.
  static V Trunc(V a) { return __builtin_convertvector(__builtin_convertvector(a, I), V); }
  // 2^n for whole n in [-126, 127].
  static V PowerOfTwo(V n) {
    return reinterpret_cast<V>((__builtin_convertvector(n, I) + 127) << 23);
  }
  // a where x < y, else b.
  static V SelectLess(V x, V y, V a, V b) { return x < y ? a : b; }
  // |a| with the sign of b.
  static V CopySign(V a, V b) {
    const I sign = reinterpret_cast<I>(b) & INT32_MIN;
    return reinterpret_cast<V>((reinterpret_cast<I>(a) & INT32_MAX) | sign);
  }
  // even0 odd0 even1 odd1 ...
  static void Interleave(V even, V odd, V& first, V& second) {
    first = V{even[0], odd[0], even[1], odd[1]};
    second = V{even[2], odd[2], even[3], odd[3]};
  }
  // Whole numbers in the range of int16.
  static void StoreInt16(int16_t* p, V v) {
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<int16_t>(v[i]);
  }
  static float Sum(V v) { return (v[0] + v[2]) + (v[1] + v[3]); }

  // Normalises 8 voxels of 8 channels, `stride` floats apart, and writes them as 8 channels of 8
  // voxels, `out_stride` floats apart.
  static void NormaliseTransposed(const float* in, int64_t stride, const float* scale,
                                  const float* shift, float* out, int64_t out_stride) {
    for (int64_t voxel = 0; voxel < 8; ++voxel) {
      for (int64_t c = 0; c < 8; ++c) {
        const float value = in[voxel * stride + c] * scale[c] + shift[c];
        out[c * out_stride + voxel] = value > 0.0F ? value : 0.0F;
      }
    }
  }
};

}  // namespace
}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_SIMD_PORTABLE_H_
