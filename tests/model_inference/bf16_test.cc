// bfloat16 on CPUs that have it: kernels and layers beside plain loops over rounded values, the
// whole network beside float32, and what is refused.
#include "model/kernels/bf16.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "layer_testing.h"
#include "model/inference/convolution.h"
#include "model/inference/cpu_synthesizer.h"
#include "testing.h"

namespace synthvol::model {
namespace {

double Rounded(float value) { return static_cast<double>(FromBf16(ToBf16(value))); }

std::vector<uint16_t> RoundedNoise(int64_t count, uint64_t stream) {
  const auto values = Noise(count, stream);
  std::vector<uint16_t> rounded(values.size());
  std::transform(values.begin(), values.end(), rounded.begin(), ToBf16);
  return rounded;
}

TEST(Bf16, RoundsToNearestHalvesToEven) {
  EXPECT_EQ(FromBf16(ToBf16(1.0F)), 1.0F);
  EXPECT_EQ(FromBf16(ToBf16(-0.0F)), -0.0F);
  EXPECT_EQ(FromBf16(ToBf16(1.0F + 1.0F / 256)), 1.0F);                // half, to even below
  EXPECT_EQ(FromBf16(ToBf16(1.0F + 3.0F / 256)), 1.0F + 4.0F / 256);   // half, to even above
  EXPECT_EQ(FromBf16(ToBf16(1.0F + 1.01F / 256)), 1.0F + 2.0F / 256);  // above half
  EXPECT_EQ(FromBf16(ToBf16(-1.0F - 0.99F / 256)), -1.0F);             // below half
}

class Bf16KernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kernels_ == nullptr) GTEST_SKIP() << "this CPU has no AVX512-BF16";
  }
  const Bf16Kernels* const kernels_ = BestBf16Kernels();
};

TEST_F(Bf16KernelsTest, MultiplyGivesTheProductForAnyNumberOfRows) {
  constexpr int64_t kPanels = 3;
  constexpr int64_t kStride = kPanels * kPanel + 5;
  for (const int64_t k : {2, 16, 64}) {
    const auto a = RoundedNoise(32 * k, 1);
    const auto b = RoundedNoise(kPanels * k * kPanel, 2);
    std::vector<const uint16_t*> rows;
    for (int64_t r = 0; r < 32; ++r) rows.push_back(a.data() + r * k);
    for (int64_t row_count = 1; row_count <= 32; ++row_count) {
      std::vector<float> out(static_cast<size_t>(row_count * kStride), 99.0F);
      kernels_->multiply(rows.data(), row_count, k, b.data(), k * kPanel, kPanels, out.data(),
                         kStride);
      for (int64_t at = 0; at < row_count * kStride; ++at) {
        const float actual = out[static_cast<size_t>(at)];
        const int64_t column = at % kStride;
        if (column >= kPanels * kPanel) {
          ASSERT_EQ(actual, 99.0F) << "written past the panels";
          continue;
        }
        double expected = 0.0;
        for (int64_t i = 0; i < k; ++i) {
          const int64_t pair = column / kPanel * k / 2 + i / 2;
          const auto weight = static_cast<size_t>((pair * kPanel + column % kPanel) * 2 + i % 2);
          expected += static_cast<double>(FromBf16(a[static_cast<size_t>(at / kStride * k + i)])) *
                      static_cast<double>(FromBf16(b[weight]));
        }
        ASSERT_NEAR(actual, expected, 1e-5) << k << " " << row_count << " " << at;
      }
    }
  }
}

TEST_F(Bf16KernelsTest, MultiplyGivesARowTheSameBitsWhateverIsBesideIt) {
  const int64_t k = 48;
  const auto a = RoundedNoise(32 * k, 3);
  const auto b = RoundedNoise(2 * k * kPanel, 4);
  std::vector<const uint16_t*> rows;
  for (int64_t r = 0; r < 32; ++r) rows.push_back(a.data() + r * k);
  std::vector<float> together(32 * 2 * kPanel);
  kernels_->multiply(rows.data(), 32, k, b.data(), k * kPanel, 2, together.data(), 2 * kPanel);
  for (int64_t count = 1; count < 32; ++count) {
    std::vector<float> part(static_cast<size_t>(count * kPanel));
    kernels_->multiply(rows.data(), count, k, b.data(), k * kPanel, 1, part.data(), kPanel);
    for (int64_t i = 0; i < count * kPanel; ++i) {
      ASSERT_EQ(part[static_cast<size_t>(i)],
                together[static_cast<size_t>(i / kPanel * 2 * kPanel + i % kPanel)]);
    }
  }
}

TEST_F(Bf16KernelsTest, DotGivesTheSum) {
  for (const int64_t n : {16, 32, 48, 64, 1040}) {
    const auto a = RoundedNoise(n, 5);
    const auto b = Noise(n, 6);
    double expected = 0.0;
    for (size_t i = 0; i < a.size(); ++i) {
      expected += static_cast<double>(FromBf16(a[i])) * static_cast<double>(b[i]);
    }
    EXPECT_NEAR(kernels_->dot(a.data(), b.data(), n), expected, 1e-4);
  }
}

TEST_F(Bf16KernelsTest, FieldsAreThoseOfFloatRounded) {
  const Block block{{2, 4, 4}, 32};
  const auto halo = Noise(6 * 10 * 10 * 32, 7);
  std::vector<float> fields(64 * 32 * 32);
  std::vector<uint16_t> rounded(fields.size());
  const auto compare = [&](const char* what) {
    for (size_t i = 0; i < fields.size(); ++i) ASSERT_EQ(rounded[i], ToBf16(fields[i])) << what;
  };
  BestKernels().transform_input_same(block, halo.data(), fields.data());
  kernels_->transform_input_same(block, halo.data(), rounded.data());
  compare("Winograd");
  std::fill(fields.begin(), fields.end(), 0.0F);
  std::fill(rounded.begin(), rounded.end(), uint16_t{0});
  BestKernels().transform_input_up(block, halo.data(), fields.data());
  kernels_->transform_input_up(block, halo.data(), rounded.data());
  compare("differences");
}

// The factors of docs/inference.md along one axis: [points][inputs], [points][taps], [2][points].
struct Axis {
  std::vector<std::vector<double>> fields;
  std::vector<std::vector<double>> weights;
  std::vector<std::vector<double>> outputs;
};

Axis AxisOf(ConvolutionKind kind) {
  if (kind == ConvolutionKind::kUp) {
    return {{{-1, 1, 0}, {0, 1, 0}, {0, -1, 1}},
            {{-1, 0, 0}, {1, 1, 1}, {0, 0, 1}},
            {{1, 1, 0}, {0, 1, 1}}};
  }
  return {{{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
          {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}},
          {{1, 1, 1, 0}, {0, 1, -1, -1}}};
}

// The sum over [n][n][n] values of factors along z, y and x times value(z, y, x).
template <typename Value>
double Transform(const std::vector<std::vector<double>>& factors, size_t pz, size_t py, size_t px,
                 const Value& value) {
  double sum = 0.0;
  const size_t n = factors[0].size();
  for (size_t z = 0; z < n; ++z) {
    for (size_t y = 0; y < n; ++y) {
      for (size_t x = 0; x < n; ++x) {
        const double factor = factors[pz][z] * factors[py][y] * factors[px][x];
        if (factor != 0.0) sum += factor * value(z, y, x);
      }
    }
  }
  return sum;
}

// Values whose sums in the transforms are exact in float, so that rounding to bfloat16 is all that
// happens to them: multiples of 1/256.
std::vector<float> CoarseNoise(int64_t count, uint64_t stream) {
  auto values = Noise(count, stream);
  for (float& value : values) value = std::round(value * 256.0F) / 256.0F;
  return values;
}

// A layer, its input without normalisation, and the emulated output of one tile.
struct Layer {
  static constexpr int64_t kSize = 8;
  static constexpr int64_t kChannels = 32;

  explicit Layer(ConvolutionKind layer_kind)
      : kind(layer_kind),
        in(CoarseNoise(kSize * kSize * kSize * kChannels, 21)),
        kernel(CoarseNoise(kChannels * kChannels * 27, 41)),
        packed(MakeLayer(kind, kChannels, kChannels, kSize, kernel)) {
    EXPECT_TRUE(AddBf16(packed).ok());
  }

  double In(int64_t z, int64_t y, int64_t x, int64_t c) const {
    if (std::min({z, y, x}) < 0 || std::max({z, y, x}) >= kSize) return 0.0;
    return static_cast<double>(
        in[static_cast<size_t>(((z * kSize + y) * kSize + x) * kChannels + c)]);
  }

  // Eight outputs of a tile [z][y][x] in double from rounded fields and weights, and what float
  // sums may differ by.
  struct Tile {
    std::array<double, 8> values{};
    double tolerance = 0.0;
  };
  Tile Emulate(std::array<int64_t, 3> tile, int64_t out_channel) const {
    const Axis axis = AxisOf(kind);
    const size_t points = axis.fields.size();
    const int64_t step = kind == ConvolutionKind::kUp ? 1 : 2;
    Tile result;
    double sizes = 0.0;
    for (size_t point = 0; point < points * points * points; ++point) {
      const size_t p[3] = {point / points / points, point / points % points, point % points};
      double product = 0.0;
      for (int64_t c = 0; c < kChannels; ++c) {
        const double field =
            Transform(axis.fields, p[0], p[1], p[2], [&](size_t z, size_t y, size_t x) {
              return In(tile[0] * step - 1 + static_cast<int64_t>(z),
                        tile[1] * step - 1 + static_cast<int64_t>(y),
                        tile[2] * step - 1 + static_cast<int64_t>(x), c);
            });
        const float* taps = kernel.data() + (out_channel * kChannels + c) * 27;
        const double weight =
            Transform(axis.weights, p[0], p[1], p[2], [&](size_t z, size_t y, size_t x) {
              return static_cast<double>(taps[(z * 3 + y) * 3 + x]);
            });
        const double term =
            Rounded(static_cast<float>(field)) * Rounded(static_cast<float>(weight));
        product += term;
        sizes += std::abs(term);
      }
      for (size_t o = 0; o < 8; ++o) {
        result.values[o] += axis.outputs[o / 4][p[0]] * axis.outputs[o / 2 % 2][p[1]] *
                            axis.outputs[o % 2][p[2]] * product;
      }
    }
    for (double& value : result.values) {
      value += static_cast<double>(packed.bias[static_cast<size_t>(out_channel)]);
    }
    // Each of the sum's additions rounds to float (2^-24): one a channel, six levels of transform
    // and the bias.
    result.tolerance = sizes * (kChannels + 8) * 0x1p-24;
    return result;
  }

  std::vector<float> Run(const Bf16Kernels* bf16, ConvolutionMode mode) {
    const int64_t size = packed.plan.out_size();
    std::vector<float> out(static_cast<size_t>(size * size * size * kChannels));
    ConvolutionCall call;
    call.kernels = &BestKernels();
    call.layer = &packed;
    call.in = {in.data(), kSize, kChannels, kSize};
    call.out = {out.data(), size, kChannels, size};
    call.bf16 = bf16;
    Backwards run{
        std::vector<float>(static_cast<size_t>(ScratchFloats(packed, ConvolutionMode::kBlocks)))};
    if (mode == ConvolutionMode::kPhases) {
      std::vector<float> shared(static_cast<size_t>(SharedFloats(packed, mode)));
      RunPhases(call, shared.data(), run);
    } else {
      for (int64_t z = packed.plan.BlocksAlong(0) - 1; z >= 0; --z) RunBlocks(call, z, z + 1, run);
    }
    return out;
  }

  const ConvolutionKind kind;
  std::vector<float> in;
  std::vector<float> kernel;
  PackedConvolution packed;
};

class Bf16LayerTest : public testing::TestWithParam<ConvolutionKind> {
 protected:
  void SetUp() override {
    if (BestBf16Kernels() == nullptr) GTEST_SKIP() << "this CPU has no AVX512-BF16";
  }
};

TEST_P(Bf16LayerTest, GivesTheEmulatedSums) {
  Layer layer(GetParam());
  const auto out = layer.Run(BestBf16Kernels(), ConvolutionMode::kBlocks);
  const int64_t size = layer.packed.plan.out_size();
  // Corner, edge, block boundaries and the middle.
  for (const auto& tile : {std::array<int64_t, 3>{0, 0, 0}, {1, 0, 3}, {2, 3, 1}, {3, 3, 3}}) {
    for (int64_t c = 0; c < Layer::kChannels; c += 5) {
      const auto expected = layer.Emulate(tile, c);
      for (int64_t o = 0; o < 8; ++o) {
        const int64_t z = 2 * tile[0] + o / 4;
        const int64_t y = 2 * tile[1] + o / 2 % 2;
        const int64_t x = 2 * tile[2] + o % 2;
        const auto at = static_cast<size_t>(((z * size + y) * size + x) * Layer::kChannels + c);
        ASSERT_NEAR(out[at], expected.values[static_cast<size_t>(o)], expected.tolerance)
            << z << " " << y << " " << x << " " << c;
        ASSERT_LT(expected.tolerance, 5e-3) << "too wide to see bfloat16's rounding";
      }
    }
  }
}

TEST_P(Bf16LayerTest, GivesTheSameBitsInBlocksAndInPhasesAndOtherOnesThanFloat) {
  Layer layer(GetParam());
  const auto blocks = layer.Run(BestBf16Kernels(), ConvolutionMode::kBlocks);
  EXPECT_EQ(layer.Run(BestBf16Kernels(), ConvolutionMode::kPhases), blocks);
  EXPECT_NE(layer.Run(nullptr, ConvolutionMode::kBlocks), blocks);
}

TEST_P(Bf16LayerTest, StaysInFloatWithoutSuchWeights) {
  Layer layer(GetParam());
  const auto plain = layer.Run(nullptr, ConvolutionMode::kBlocks);
  layer.packed.bf16 = Buffer();
  EXPECT_EQ(layer.Run(BestBf16Kernels(), ConvolutionMode::kBlocks), plain);
}

INSTANTIATE_TEST_SUITE_P(All, Bf16LayerTest,
                         testing::Values(ConvolutionKind::kUp, ConvolutionKind::kSame),
                         [](const auto& test) {
                           return test.param == ConvolutionKind::kUp ? "up" : "same";
                         });

}  // namespace
}  // namespace synthvol::model
