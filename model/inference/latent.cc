// Latents from seeds, as PyTorch's CPU generator makes them, and mixes of two.
//
// PyTorch fills 16 values or more from 24-bit uniforms in blocks of 16, by Box and Muller's formula
// in float with its own logarithm, sine and cosine (Cephes' polynomials, fused multiply-adds);
// fewer values come one by one from 53-bit uniforms in double. Both are written out here, operation
// by operation, since the last bit counts.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/synthesizer.h"

namespace synthvol::model {
namespace {

// Values that the block formula makes at once.
constexpr int64_t kBlock = 16;
constexpr int64_t kMaxDim = 1 << 20;

// Evaluates a polynomial by Horner's rule with fused operations, highest power first.
template <size_t N>
float Horner(const std::array<float, N>& coefficients, float x) {
  float y = coefficients[0];
  for (size_t i = 1; i < N; ++i) y = std::fma(y, x, coefficients[i]);
  return y;
}

// ln x for normal x > 0: x = m 2^e with m in [sqrt(1/2), sqrt(2)).
float Log(float x) {
  constexpr std::array<float, 9> kLog{7.0376836292E-2F,  -1.1514610310E-1F, 1.1676998740E-1F,
                                      -1.2420140846E-1F, 1.4249322787E-1F,  -1.6668057665E-1F,
                                      2.0000714765E-1F,  -2.4999993993E-1F, 3.3333331174E-1F};
  const uint32_t bits = std::bit_cast<uint32_t>(std::max(x, std::numeric_limits<float>::min()));
  float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127) + 1.0F;
  float m = std::bit_cast<float>((bits & ~0x7f800000u) | 0x3f000000u);
  if (m < 0.707106781186547524F) {
    e -= 1.0F;
    m = (m - 1.0F) + m;
  } else {
    m -= 1.0F;
  }
  const float z = m * m;
  // ln 2 in two parts.
  float y = std::fma(Horner(kLog, m) * m, z, e * -2.12194440e-4F);
  y = std::fma(-z, 0.5F, y);
  return std::fma(e, 0.693359375F, m + y);
}

struct SinCos {
  float sine;
  float cosine;
};

// Sine and cosine of 0 <= x < 8192, reduced to [-pi/4, pi/4].
SinCos SineAndCosine(float x) {
  constexpr std::array<float, 3> kSine{-1.9515295891E-4F, 8.3321608736E-3F, -1.6666654611E-1F};
  constexpr std::array<float, 3> kCosine{2.443315711809948E-005F, -1.388731625493765E-003F,
                                         4.166664568298827E-002F};
  const int32_t octant = (static_cast<int32_t>(x * 1.27323954473516F) + 1) & ~1;
  const float y = static_cast<float>(octant);
  // pi/4 in three parts.
  x = std::fma(y, -0.78515625F, x);
  x = std::fma(y, -2.4187564849853515625e-4F, x);
  x = std::fma(y, -3.77489497744594108e-8F, x);
  const float z = x * x;
  const float by_cosine = std::fma(Horner(kCosine, z) * z, z, -(z * 0.5F)) + 1.0F;
  const float by_sine = std::fma(Horner(kSine, z) * z, x, x);
  const bool swapped = (octant & 2) != 0;
  const bool sine_negative = (octant & 4) != 0;
  const bool cosine_negative = ((octant - 2) & 4) == 0;
  SinCos result{swapped ? by_cosine : by_sine, swapped ? by_sine : by_cosine};
  if (sine_negative) result.sine = -result.sine;
  if (cosine_negative) result.cosine = -result.cosine;
  return result;
}

// Turns 16 uniforms of [0, 1) into 16 normal values, in place (Box and Muller 1958).
void NormalBlock(float* values) {
  constexpr int64_t kHalf = kBlock / 2;
  constexpr float kTwoPi = static_cast<float>(2.0 * std::numbers::pi);
  for (int64_t i = 0; i < kHalf; ++i) {
    const float radius = std::sqrt(-2.0F * Log(1.0F - values[i]));
    const SinCos angle = SineAndCosine(kTwoPi * values[i + kHalf]);
    // Adding 0 makes a zero positive, as there.
    values[i] = radius * angle.cosine + 0.0F;
    values[i + kHalf] = radius * angle.sine + 0.0F;
  }
}

float Uniform24(std::mt19937& engine) {
  return static_cast<float>(engine() & 0xffffffu) * (1.0F / 16777216.0F);
}

double Uniform53(std::mt19937& engine) {
  const uint64_t high = engine();
  const uint64_t low = engine();
  return static_cast<double>(((high << 32) | low) & ((uint64_t{1} << 53) - 1)) *
         (1.0 / 9007199254740992.0);
}

void FillBlocks(std::mt19937& engine, std::vector<float>& values) {
  for (float& value : values) value = Uniform24(engine);
  const auto count = static_cast<int64_t>(values.size());
  for (int64_t i = 0; i + kBlock <= count; i += kBlock) NormalBlock(values.data() + i);
  if (count % kBlock == 0) return;
  // A last part block is made anew, over the end of the block before it.
  float* last = values.data() + count - kBlock;
  for (int64_t i = 0; i < kBlock; ++i) last[i] = Uniform24(engine);
  NormalBlock(last);
}

void FillOneByOne(std::mt19937& engine, std::vector<float>& values) {
  std::optional<double> kept;
  for (float& value : values) {
    if (kept) {
      value = static_cast<float>(*kept);
      kept.reset();
      continue;
    }
    const double u1 = Uniform53(engine);
    const double u2 = Uniform53(engine);
    const double radius = std::sqrt(-2.0 * std::log1p(-u2));
    const double angle = 2.0 * std::numbers::pi * u1;
    kept = radius * std::sin(angle);
    value = static_cast<float>(radius * std::cos(angle));
  }
}

}  // namespace

absl::StatusOr<std::vector<float>> LatentFromSeed(uint64_t seed, int64_t dim) {
  if (seed > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("seed: 0 to 4294967295 expected, ", seed, " given"));
  }
  if (dim < 1 || dim > kMaxDim) {
    return absl::InvalidArgumentError(
        absl::StrCat("latent_dim: 1 to ", kMaxDim, " expected, ", dim, " given"));
  }
  std::mt19937 engine(static_cast<uint32_t>(seed));
  std::vector<float> values(static_cast<size_t>(dim));
  if (dim >= kBlock) {
    FillBlocks(engine, values);
  } else {
    FillOneByOne(engine, values);
  }
  return values;
}

absl::StatusOr<std::vector<float>> MixLatents(absl::Span<const float> a, absl::Span<const float> b,
                                              double fraction) {
  if (a.size() != b.size() || a.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("mix: two latents of equal length expected, ",
                                                   a.size(), " and ", b.size(), " given"));
  }
  if (!(fraction >= 0.0 && fraction <= 1.0)) {
    return absl::InvalidArgumentError("mix fraction: 0 to 1 expected");
  }
  double dot = 0.0;
  double norm_a = 0.0;
  double norm_b = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]);
    const auto y = static_cast<double>(b[i]);
    dot += x * y;
    norm_a += x * x;
    norm_b += y * y;
  }
  // Spherical interpolation (Shoemake 1985): for nearly parallel or zero latents it turns into the
  // straight one, and between opposite ones no arc is singled out, so that is taken there too.
  double weight_a = 1.0 - fraction;
  double weight_b = fraction;
  const double norms = std::sqrt(norm_a * norm_b);
  const double angle = norms > 0.0 ? std::acos(std::clamp(dot / norms, -1.0, 1.0)) : 0.0;
  const double sine = std::sin(angle);
  if (sine > 1e-6) {
    weight_a = std::sin((1.0 - fraction) * angle) / sine;
    weight_b = std::sin(fraction * angle) / sine;
  }
  std::vector<float> mixed(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    mixed[i] = static_cast<float>(weight_a * static_cast<double>(a[i]) +
                                  weight_b * static_cast<double>(b[i]));
  }
  return mixed;
}

}  // namespace synthvol::model
