// The last layer: one output channel, then tanh, the window and int16. docs/inference.md.
// Included by kernels_*.cc after a Simd type.
#include <cstdint>

#include "model/kernels/kernels.h"

namespace synthvol::model {
namespace {

void PackRow(const float* in, int64_t voxels, int64_t channels, const float* scale,
             const float* shift, float* panels) {
  for (int64_t x = 0; x < voxels; x += kPanel) {
    float* panel = panels + x * channels;
    for (int64_t half = 0; half < kPanel; half += 8) {
      for (int64_t c = 0; c < channels; c += 8) {
        Simd::NormaliseTransposed(in + (x + half) * channels + c, channels, scale + c, shift + c,
                                  panel + c * kPanel + half, kPanel);
      }
    }
  }
}

void CombineColumns(const float* taps0, const float* taps1, const float* taps2, int64_t n,
                    float* even, float* odd) {
  for (int64_t x = 0; x < n; x += Simd::kWidth) {
    const Simd::V middle = Simd::Load(taps1 + x);
    const Simd::V right = Simd::Add(middle, Simd::Load(taps2 + x));
    const Simd::V left = Simd::Add(Simd::Load(taps0 + x), middle);
    Simd::Store(even + x, Simd::Add(Simd::Load(taps0 + x - 1), right));
    Simd::Store(odd + x, Simd::Add(left, Simd::Load(taps2 + x + 1)));
  }
}

void Add3(const float* a, const float* b, const float* c, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += Simd::kWidth) {
    Simd::Store(out + i,
                Simd::Add(Simd::Load(a + i), Simd::Add(Simd::Load(b + i), Simd::Load(c + i))));
  }
}

// exp(x) for x in [0, 20]: 2^n times a polynomial on [-ln2/2, ln2/2]; relative error below 2e-7.
Simd::V Exp(Simd::V x) {
  using V = Simd::V;
  const V n = Simd::Trunc(Simd::Fma(x, Simd::Broadcast(1.442695041F), Simd::Broadcast(0.5F)));
  // ln 2 in two parts, so that the remainder is exact to float.
  V r = Simd::Fma(n, Simd::Broadcast(-0.693145751953125F), x);
  r = Simd::Fma(n, Simd::Broadcast(-1.428606765330187e-6F), r);
  // Taylor's series to the sixth power: the next term is below 1.2e-7 on this interval.
  V p = Simd::Broadcast(1.0F / 720.0F);
  p = Simd::Fma(p, r, Simd::Broadcast(1.0F / 120.0F));
  p = Simd::Fma(p, r, Simd::Broadcast(1.0F / 24.0F));
  p = Simd::Fma(p, r, Simd::Broadcast(1.0F / 6.0F));
  p = Simd::Fma(p, r, Simd::Broadcast(0.5F));
  p = Simd::Fma(p, r, Simd::Broadcast(1.0F));
  p = Simd::Fma(p, r, Simd::Broadcast(1.0F));
  return Simd::Mul(p, Simd::PowerOfTwo(n));
}

// tanh to about 2e-7, absolutely, and relatively near 0. Not a number gives not a number.
Simd::V Tanh(Simd::V x) {
  using V = Simd::V;
  const V one = Simd::Broadcast(1.0F);
  const V size = Simd::Abs(x);
  // Far from 0: 1 - 2 / (exp(2|x|) + 1); beyond 10 that is 1 in float.
  const V e = Exp(Simd::Min(Simd::Add(size, size), Simd::Broadcast(20.0F)));
  const V far = Simd::Sub(one, Simd::Div(Simd::Broadcast(2.0F), Simd::Add(e, one)));
  // Near 0: Taylor's series to x^13 (next term below 1e-8 at 0.3).
  const V s = Simd::Mul(x, x);
  V p = Simd::Broadcast(21844.0F / 6081075.0F);
  p = Simd::Fma(p, s, Simd::Broadcast(-1382.0F / 155925.0F));
  p = Simd::Fma(p, s, Simd::Broadcast(62.0F / 2835.0F));
  p = Simd::Fma(p, s, Simd::Broadcast(-17.0F / 315.0F));
  p = Simd::Fma(p, s, Simd::Broadcast(2.0F / 15.0F));
  p = Simd::Fma(p, s, Simd::Broadcast(-1.0F / 3.0F));
  const V near = Simd::Fma(Simd::Mul(p, s), x, x);
  // Min(size, ...) above loses "not a number", near keeps it: it is taken unless size >= 0.3.
  return Simd::SelectLess(Simd::Broadcast(0.3F), size, Simd::CopySign(far, x), near);
}

// The sum of the three parts of a voxel, through tanh: even and odd columns.
struct Columns {
  Simd::V even;
  Simd::V odd;
};
Columns FinishColumns(const float* a, const float* b, const float* c, int64_t n, int64_t x,
                      Simd::V bias) {
  const auto value = [&](int64_t at) {
    const Simd::V sum =
        Simd::Add(Simd::Load(a + at), Simd::Add(Simd::Load(b + at), Simd::Load(c + at)));
    return Tanh(Simd::Add(sum, bias));
  };
  return {value(x), value(n + x)};
}

void FinishUnit(const float* a, const float* b, const float* c, int64_t n, float bias, float* out) {
  const Simd::V bias_vector = Simd::Broadcast(bias);
  for (int64_t x = 0; x < n; x += Simd::kWidth) {
    const Columns columns = FinishColumns(a, b, c, n, x, bias_vector);
    Simd::V first;
    Simd::V second;
    Simd::Interleave(columns.even, columns.odd, first, second);
    Simd::Store(out + 2 * x, first);
    Simd::Store(out + 2 * x + Simd::kWidth, second);
  }
}

// imaging::Window::ToStored on a register.
void StoreStored(Simd::V unit, StoredScale scale, int16_t* out) {
  using V = Simd::V;
  // Max first: it gives -1 for "not a number".
  const V clamped = Simd::Min(Simd::Max(unit, Simd::Broadcast(-1.0F)), Simd::Broadcast(1.0F));
  const V value =
      Simd::ExactFma(clamped, Simd::Broadcast(scale.half_range), Simd::Broadcast(scale.centre));
  // Half away from zero: twice the fraction is exact and reaches 1 at one half.
  const V whole = Simd::Trunc(value);
  const V fraction = Simd::Sub(value, whole);
  Simd::StoreInt16(out, Simd::Add(whole, Simd::Trunc(Simd::Add(fraction, fraction))));
}

void FinishStored(const float* a, const float* b, const float* c, int64_t n, float bias,
                  StoredScale scale, int16_t* out) {
  const Simd::V bias_vector = Simd::Broadcast(bias);
  for (int64_t x = 0; x < n; x += Simd::kWidth) {
    const Columns columns = FinishColumns(a, b, c, n, x, bias_vector);
    Simd::V first;
    Simd::V second;
    Simd::Interleave(columns.even, columns.odd, first, second);
    StoreStored(first, scale, out + 2 * x);
    StoreStored(second, scale, out + 2 * x + Simd::kWidth);
  }
}

}  // namespace
}  // namespace synthvol::model
