// Every kernel of every instruction set that this CPU runs, beside a plain loop.
#include "model/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "imaging/volume.h"
#include "model/checkpoint/hash_weights.h"
#include "model/inference/input_check.h"

namespace synthvol::model {
namespace {

std::vector<float> Noise(size_t count, uint64_t stream) {
  std::vector<float> values(count);
  HashUniform(7, stream, absl::MakeSpan(values));
  return values;
}

class KernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels() const { return *GetParam(); }
};

TEST_P(KernelsTest, MultiplyGivesTheProductForAnyNumberOfRows) {
  for (const int64_t k : {1, 7, 16, 64}) {
    for (const int64_t row_count : {1, 2, 3, 5, 6, 7, 11, 13, 27, 32}) {
      const int64_t panels = 3;
      const auto a = Noise(static_cast<size_t>(row_count * k), 1);
      const auto b = Noise(static_cast<size_t>(panels * k * kPanel), 2);
      std::vector<const float*> rows;
      for (int64_t r = 0; r < row_count; ++r) rows.push_back(a.data() + r * k);
      const int64_t stride = panels * kPanel + 5;
      std::vector<float> out(static_cast<size_t>(row_count * stride), 99.0F);
      kernels().multiply(rows.data(), row_count, k, b.data(), k * kPanel, panels, out.data(),
                         stride);
      for (int64_t r = 0; r < row_count; ++r) {
        for (int64_t j = 0; j < stride; ++j) {
          const float actual = out[static_cast<size_t>(r * stride + j)];
          if (j >= panels * kPanel) {
            ASSERT_EQ(actual, 99.0F) << "written past the panels";
            continue;
          }
          double expected = 0.0;
          for (int64_t i = 0; i < k; ++i) {
            expected += static_cast<double>(a[static_cast<size_t>(r * k + i)]) *
                        static_cast<double>(
                            b[static_cast<size_t>((j / kPanel * k + i) * kPanel + j % kPanel)]);
          }
          ASSERT_NEAR(actual, expected, 1e-5) << k << " " << row_count << " " << r << " " << j;
        }
      }
    }
  }
}

TEST_P(KernelsTest, MultiplyGivesARowTheSameBitsWhateverIsBesideIt) {
  const int64_t k = 48;
  const auto a = Noise(32 * k, 3);
  const auto b = Noise(k * kPanel, 4);
  std::vector<const float*> rows;
  for (int64_t r = 0; r < 32; ++r) rows.push_back(a.data() + r * k);
  std::vector<float> together(32 * kPanel);
  kernels().multiply(rows.data(), 32, k, b.data(), 0, 1, together.data(), kPanel);
  for (int64_t count = 1; count < 32; ++count) {
    std::vector<float> part(static_cast<size_t>(count * kPanel));
    kernels().multiply(rows.data(), count, k, b.data(), 0, 1, part.data(), kPanel);
    for (size_t i = 0; i < part.size(); ++i) ASSERT_EQ(part[i], together[i]) << count;
  }
}

TEST_P(KernelsTest, DotGivesTheSum) {
  for (const size_t n : {16U, 32U, 48U, 1040U}) {
    const auto a = Noise(n, 5);
    const auto b = Noise(n, 6);
    double expected = 0.0;
    for (size_t i = 0; i < n; ++i)
      expected += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    EXPECT_NEAR(kernels().dot(a.data(), b.data(), static_cast<int64_t>(n)), expected, 1e-4);
  }
}

TEST_P(KernelsTest, NormaliseScalesShiftsAndCutsAtZero) {
  const auto in = Noise(5 * 32, 7);
  const auto scale = Noise(32, 8);
  const auto shift = Noise(32, 9);
  std::vector<float> out(in.size());
  kernels().normalise(in.data(), 5, 32, scale.data(), shift.data(), out.data());
  for (size_t i = 0; i < in.size(); ++i) {
    const float expected = std::max(in[i] * scale[i % 32] + shift[i % 32], 0.0F);
    ASSERT_NEAR(out[i], expected, 1e-6);
  }
}

TEST_P(KernelsTest, PackRowTransposesIntoPanels) {
  const int64_t voxels = 48;
  const int64_t channels = 16;
  const auto in = Noise(voxels * channels, 10);
  const auto scale = Noise(channels, 11);
  const auto shift = Noise(channels, 12);
  std::vector<float> panels(in.size());
  kernels().pack_row(in.data(), voxels, channels, scale.data(), shift.data(), panels.data());
  for (int64_t x = 0; x < voxels; ++x) {
    for (int64_t c = 0; c < channels; ++c) {
      const auto at = static_cast<size_t>(c);
      const float expected =
          std::max(in[static_cast<size_t>(x * channels + c)] * scale[at] + shift[at], 0.0F);
      const auto packed =
          static_cast<size_t>(x / kPanel * channels * kPanel + c * kPanel + x % kPanel);
      ASSERT_NEAR(panels[packed], expected, 1e-6);
    }
  }
}

TEST_P(KernelsTest, CombineColumnsReachesOneBeforeAndOneAfter) {
  const int64_t n = 32;
  const auto taps = Noise(3 * (n + 2), 13);
  const float* row[3];
  for (int t = 0; t < 3; ++t) row[t] = taps.data() + t * (n + 2) + 1;
  std::vector<float> even(n);
  std::vector<float> odd(n);
  kernels().combine_columns(row[0], row[1], row[2], n, even.data(), odd.data());
  for (int64_t x = 0; x < n; ++x) {
    EXPECT_NEAR(even[static_cast<size_t>(x)], row[0][x - 1] + row[1][x] + row[2][x], 1e-6);
    EXPECT_NEAR(odd[static_cast<size_t>(x)], row[0][x] + row[1][x] + row[2][x + 1], 1e-6);
  }
}

TEST_P(KernelsTest, Add3Adds) {
  const auto a = Noise(48, 14);
  const auto b = Noise(48, 15);
  const auto c = Noise(48, 16);
  std::vector<float> out(48);
  kernels().add3(a.data(), b.data(), c.data(), 48, out.data());
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], a[i] + (b[i] + c[i]));
}

// The arguments of finish_*: values split over three parts, even and odd columns apart.
std::vector<float> FinishUnit(const Kernels& kernels, const std::vector<float>& values,
                              float bias) {
  const size_t n = values.size() / 2;
  std::vector<float> a(2 * n);
  for (size_t i = 0; i < values.size(); ++i) a[i % 2 * n + i / 2] = values[i];
  const std::vector<float> zero(2 * n, 0.0F);
  std::vector<float> out(2 * n);
  kernels.finish_unit(a.data(), zero.data(), zero.data(), static_cast<int64_t>(n), bias,
                      out.data());
  return out;
}

TEST_P(KernelsTest, FinishUnitIsTanhToAFewUlps) {
  std::vector<float> values;
  for (int i = -8000; i < 8000; ++i) values.push_back(static_cast<float>(i) * 0.0025F);
  for (const float x :
       {0.0F, -0.0F, 1e-30F, -1e-7F, 0.29999F, 0.30001F, 88.0F, -1e30F,
        std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    values.push_back(x);
  }
  while (values.size() % 32 != 0) values.push_back(0.5F);
  const auto out = FinishUnit(kernels(), values, 0.0F);
  for (size_t i = 0; i < values.size(); ++i) {
    const double expected = std::tanh(static_cast<double>(values[i]));
    ASSERT_NEAR(out[i], expected, 3e-7) << values[i];
    ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected)) << values[i];
    ASSERT_LE(std::abs(out[i]), 1.0F) << values[i];
  }
}

TEST_P(KernelsTest, FinishStoredRoundsAsTheWindowDoes) {
  // Windows whose halves lie on and off whole numbers; values that hit one half.
  for (const imaging::Window window :
       {imaging::Window{-1024.0, 600.0}, imaging::Window{-1000.0, 1001.0},
        imaging::Window{0.0, 4095.0}, imaging::Window{-32768.0, 32767.0}}) {
    std::vector<float> values;
    for (int i = -3000; i < 3000; ++i) values.push_back(static_cast<float>(i) * 0.001F);
    values.push_back(std::numeric_limits<float>::infinity());
    values.push_back(-std::numeric_limits<float>::infinity());
    values.push_back(std::numeric_limits<float>::quiet_NaN());
    while (values.size() % 32 != 0) values.push_back(0.0F);
    const auto unit = FinishUnit(kernels(), values, 0.125F);
    const size_t n = values.size() / 2;
    std::vector<float> a(2 * n);
    for (size_t i = 0; i < values.size(); ++i) a[i % 2 * n + i / 2] = values[i];
    const std::vector<float> zero(2 * n, 0.0F);
    std::vector<int16_t> stored(2 * n);
    kernels().finish_stored(a.data(), zero.data(), zero.data(), static_cast<int64_t>(n), 0.125F,
                            ScaleOf(window), stored.data());
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(stored[i], window.ToStored(unit[i])) << values[i] << " as " << unit[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, KernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Kernels, ThePortableTableIsAlwaysThere) {
  EXPECT_STREQ(AvailableKernels().front()->name, "portable");
}

}  // namespace
}  // namespace synthvol::model
