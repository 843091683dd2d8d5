// The device's kernels beside plain loops on the CPU; skipped without a GPU. The folding of kernels
// is checked everywhere.

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "imaging/volume.h"
#include "model/checkpoint/hash_weights.h"
#include "model/inference/cuda/fold_kernel.h"
#include "model/kernels/cuda/last_layer.h"
#include "model/kernels/cuda/linear.h"
#include "model/kernels/cuda/norm_relu.h"

namespace synthvol::model {
namespace {

std::vector<float> Noise(int64_t count, uint64_t stream) {
  std::vector<float> values(static_cast<size_t>(count));
  HashUniform(13, stream, absl::MakeSpan(values));
  return values;
}

// bf16 by round to nearest even, as raw bits and back.
uint16_t ToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
float FromBf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Device memory with a copy of `values`.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : count_(values.size()) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), count_ * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* get() { return data_; }
  std::vector<T> Read() {
    std::vector<T> values(count_);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }

 private:
  size_t count_;
  T* data_ = nullptr;
};

class DeviceKernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
      GTEST_SKIP() << "no GPU on this machine";
    }
  }
};

// Values per voxel in a convolution's output, and where voxel (z, y, x) of channel c lies.
int64_t OutputFloats(bool phases, int64_t size, int64_t channels) {
  const int64_t extent = size / 2 + 1;
  return phases ? extent * extent * extent * 8 * channels : size * size * size * channels;
}
size_t PlaceOf(bool phases, int64_t size, int64_t channels, int64_t voxel, int64_t c) {
  const int64_t z = voxel / (size * size);
  const int64_t y = voxel / size % size;
  const int64_t x = voxel % size;
  if (!phases) return static_cast<size_t>(voxel * channels + c);
  const int64_t extent = size / 2 + 1;
  const int64_t position = ((z + 1) / 2 * extent + (y + 1) / 2) * extent + (x + 1) / 2;
  return static_cast<size_t>((position * 8 + z % 2 * 4 + y % 2 * 2 + x % 2) * channels + c);
}

TEST_F(DeviceKernelsTest, LinearGivesTheDotProducts) {
  const int64_t count = 1027;
  const int64_t channels = 24;
  const auto rows = Noise(channels * 64 * count, 1);
  const auto bias = Noise(channels * 64, 2);
  const auto inputs = Noise(count, 3);
  OnDevice<float> d_rows(rows);
  OnDevice<float> d_bias(bias);
  OnDevice<float> d_inputs(inputs);
  OnDevice<float> out(std::vector<float>(static_cast<size_t>(channels * 64)));
  ASSERT_EQ(LaunchLinear(d_rows.get(), d_bias.get(), d_inputs.get(), count, channels,
                         Element::kFloat, out.get(), nullptr),
            cudaSuccess);
  const auto actual = out.Read();
  for (int64_t row = 0; row < channels * 64; ++row) {
    double expected = static_cast<double>(bias[static_cast<size_t>(row)]);
    for (int64_t i = 0; i < count; ++i) {
      expected += static_cast<double>(rows[static_cast<size_t>(row * count + i)]) *
                  static_cast<double>(inputs[static_cast<size_t>(i)]);
    }
    EXPECT_NEAR(actual[static_cast<size_t>(row % 64 * channels + row / 64)], expected, 1e-4);
  }
}

// A map of one sample with its norm, on the device.
struct NormOnDevice {
  NormOnDevice(const void* data, Element element, bool phases, int64_t size,
               const std::vector<float>& shift, const std::vector<float>& gamma,
               const std::vector<float>& beta)
      : d_shift(shift), d_gamma(gamma), d_beta(beta) {
    const auto side = static_cast<int>(size);
    map = {
        data, element,       phases,        1,           static_cast<int>(shift.size()), side, side,
        side, d_shift.get(), d_gamma.get(), d_beta.get()};
  }

  // Runs both kernels; returns whether a sum was not finite.
  int Apply(void* out) {
    OnDevice<double> scratch(std::vector<double>(static_cast<size_t>(NormReluScratch(map))));
    OnDevice<double> sums(std::vector<double>(static_cast<size_t>(2 * map.channels)));
    OnDevice<int> status(std::vector<int>{0});
    EXPECT_EQ(LaunchNormReluSums(map, scratch.get(), sums.get(), status.get(), nullptr),
              cudaSuccess);
    EXPECT_EQ(LaunchNormRelu(map, sums.get(), out, nullptr), cudaSuccess);
    return status.Read()[0];
  }

  OnDevice<float> d_shift;
  OnDevice<float> d_gamma;
  OnDevice<float> d_beta;
  NormReluMap map;
};

TEST_F(DeviceKernelsTest, GroupNormAndReluFollowTheFormula) {
  for (const bool phases : {false, true}) {
    // The last has more packs of channels than a block has threads.
    for (const int64_t channels : {8, 24, 512, 1160}) {
      const int64_t size = 8;
      const auto raw = Noise(OutputFloats(phases, size, channels), 4);
      const auto bias = Noise(channels, 5);
      const auto gamma = Noise(channels, 6);
      const auto beta = Noise(channels, 7);
      OnDevice<float> d_raw(raw);
      OnDevice<float> out(std::vector<float>(static_cast<size_t>(size * size * size * channels)));
      NormOnDevice norm(d_raw.get(), Element::kFloat, phases, size, bias, gamma, beta);
      EXPECT_EQ(norm.Apply(out.get()), 0);
      const auto actual = out.Read();
      const int64_t per_group = channels / 8;
      const int64_t voxels = size * size * size;
      for (int64_t group = 0; group < 8; ++group) {
        double sum = 0.0;
        double squares = 0.0;
        const auto value = [&](int64_t voxel, int64_t c) {
          return static_cast<double>(raw[PlaceOf(phases, size, channels, voxel, c)]) +
                 static_cast<double>(bias[static_cast<size_t>(c)]);
        };
        for (int64_t i = 0; i < voxels * per_group; ++i) {
          const double v = value(i / per_group, group * per_group + i % per_group);
          sum += v;
          squares += v * v;
        }
        const double count = static_cast<double>(voxels * per_group);
        const double mean = sum / count;
        const double inverse = 1.0 / std::sqrt(squares / count - mean * mean + 1e-5);
        for (int64_t i = 0; i < voxels * per_group; ++i) {
          const int64_t c = group * per_group + i % per_group;
          const int64_t voxel = i / per_group;
          const double expected =
              std::max(0.0, (value(voxel, c) - mean) * inverse *
                                    static_cast<double>(gamma[static_cast<size_t>(c)]) +
                                static_cast<double>(beta[static_cast<size_t>(c)]));
          ASSERT_NEAR(actual[static_cast<size_t>(voxel * channels + c)], expected, 1e-5);
        }
      }
    }
  }
}

TEST_F(DeviceKernelsTest, NormReadsAndWritesBf16) {
  const int64_t size = 4;
  const int64_t channels = 16;
  std::vector<uint16_t> raw;
  std::vector<float> rounded;
  for (const float value : Noise(OutputFloats(true, size, channels), 8)) {
    raw.push_back(ToBf16(value));
    rounded.push_back(FromBf16(raw.back()));
  }
  const auto shift = Noise(channels, 9);
  const auto gamma = Noise(channels, 10);
  const auto beta = Noise(channels, 11);
  const auto voxels = static_cast<size_t>(size * size * size * channels);
  OnDevice<uint16_t> d_raw(raw);
  OnDevice<float> d_rounded(rounded);
  OnDevice<uint16_t> out(std::vector<uint16_t>{std::vector<uint16_t>(voxels)});
  OnDevice<float> expected(std::vector<float>{std::vector<float>(voxels)});
  NormOnDevice(d_raw.get(), Element::kBf16, true, size, shift, gamma, beta).Apply(out.get());
  NormOnDevice(d_rounded.get(), Element::kFloat, true, size, shift, gamma, beta)
      .Apply(expected.get());
  const auto actual = out.Read();
  const auto floats = expected.Read();
  for (size_t i = 0; i < voxels; ++i) {
    // One step of bf16: the sums differ by their order.
    ASSERT_NEAR(FromBf16(actual[i]), floats[i], 0.005F * std::abs(floats[i]) + 1e-6F) << i;
  }
}

TEST_F(DeviceKernelsTest, SumsThatAreNotFiniteAreReported) {
  std::vector<float> raw(4 * 4 * 4 * 8, 1.0F);
  raw[5] = INFINITY;
  const std::vector<float> ones(8, 1.0F);
  OnDevice<float> d_raw(raw);
  OnDevice<float> out(raw);
  NormOnDevice norm(d_raw.get(), Element::kFloat, false, 4, ones, ones, ones);
  EXPECT_EQ(norm.Apply(out.get()), 1);
}

// The last layer as written: upsampling, convolution, tanh, in double.
double LastVoxel(const std::vector<float>& map, const std::vector<float>& kernel, float bias,
                 int64_t n, int64_t channels, int64_t z, int64_t y, int64_t x) {
  double sum = static_cast<double>(bias);
  for (int64_t tap = 0; tap < 27; ++tap) {
    const int64_t at[3] = {z + tap / 9 - 1, y + tap / 3 % 3 - 1, x + tap % 3 - 1};
    if (std::min({at[0], at[1], at[2]}) < 0 || std::max({at[0], at[1], at[2]}) >= 2 * n) continue;
    const int64_t voxel = (at[0] / 2 * n + at[1] / 2) * n + at[2] / 2;
    for (int64_t c = 0; c < channels; ++c) {
      sum += static_cast<double>(map[static_cast<size_t>(voxel * channels + c)]) *
             static_cast<double>(kernel[static_cast<size_t>(c * 27 + tap)]);
    }
  }
  return std::tanh(sum);
}

TEST_F(DeviceKernelsTest, LastLayerIsUpsamplingConvolutionTanhAndTheWindow) {
  const imaging::Window window{-1000.0, 1001.0};
  const auto half = static_cast<float>((window.high - window.low) / 2.0);
  const auto centre = static_cast<float>((window.high + window.low) / 2.0);
  const std::vector<float> bias{0.25F};
  // More channels than shared memory takes at a time; sides that rows of four do not divide.
  for (const auto& [n, channels] : {std::pair<int64_t, int64_t>{5, 8}, {6, 32}, {3, 136}}) {
    for (const Element element : {Element::kFloat, Element::kBf16}) {
      auto map = Noise(n * n * n * channels, 12);
      std::vector<uint16_t> low;
      for (float& value : map) {
        low.push_back(ToBf16(value));
        if (element == Element::kBf16) value = FromBf16(low.back());
      }
      auto kernel = Noise(channels * 27, 13);
      for (float& value : kernel) value *= 0.1F;  // where tanh is not flat
      const auto folded = FoldKernel(kernel, 1, channels);
      std::vector<float> weights(folded.size());
      for (int64_t i = 0; i < 64 * channels; ++i) {
        const int64_t phase = i / (8 * channels);
        const int64_t c = i / 8 % channels;
        weights[static_cast<size_t>((i % 8 * channels + c) * 8 + phase)] =
            folded[static_cast<size_t>(i)];
      }
      OnDevice<float> d_map(map);
      OnDevice<uint16_t> d_low(low);
      OnDevice<float> d_weights(weights);
      OnDevice<float> d_bias(bias);
      const auto voxels = static_cast<size_t>(8 * n * n * n);
      OnDevice<float> unit(std::vector<float>(voxels, 7.0F));
      OnDevice<int16_t> stored(std::vector<int16_t>(voxels, 7777));
      const LastLayerInput in{
          element == Element::kFloat ? static_cast<const void*>(d_map.get()) : d_low.get(),
          element,
          d_weights.get(),
          d_bias.get(),
          static_cast<int>(n),
          static_cast<int>(channels)};
      // In two pieces, the second first.
      const auto planes = static_cast<int>(n + 1);
      for (const auto& [first, count] : {std::pair<int, int>{2, planes - 2}, {0, 2}}) {
        ASSERT_EQ(LaunchLastLayer(in, first, count, {unit.get(), nullptr, half, centre}, nullptr),
                  cudaSuccess);
        ASSERT_EQ(LaunchLastLayer(in, first, count, {nullptr, stored.get(), half, centre}, nullptr),
                  cudaSuccess);
      }
      const auto units = unit.Read();
      const auto integers = stored.Read();
      for (int64_t i = 0; i < 8 * n * n * n; ++i) {
        const auto at = static_cast<size_t>(i);
        const double expected = LastVoxel(map, kernel, bias[0], n, channels, i / (4 * n * n),
                                          i / (2 * n) % (2 * n), i % (2 * n));
        ASSERT_NEAR(units[at], expected, 1e-5) << i << " of " << n << ", " << channels;
        ASSERT_EQ(integers[at], window.ToStored(units[at]));
      }
    }
  }
}

// No GPU needed: the folded kernel beside the upsampling it stands for.
TEST(FoldKernel, EqualsUpsamplingThenConvolution) {
  const int64_t in_channels = 3;
  const int64_t out_channels = 2;
  const int64_t n = 4;
  const auto kernel = Noise(out_channels * in_channels * 27, 20);
  const auto in = Noise(in_channels * n * n * n, 21);
  const auto folded = FoldKernel(kernel, out_channels, in_channels);
  const auto voxel = [&](int64_t c, int64_t z, int64_t y, int64_t x) {
    if (std::min({z, y, x}) < 0 || std::max({z, y, x}) >= n) return 0.0;
    return static_cast<double>(in[static_cast<size_t>(((c * n + z) * n + y) * n + x)]);
  };
  for (int64_t out = 0; out < out_channels; ++out) {
    for (int64_t i = 0; i < 8 * n * n * n; ++i) {
      const int64_t z = i / (4 * n * n);
      const int64_t y = i / (2 * n) % (2 * n);
      const int64_t x = i % (2 * n);
      double expected = 0.0;
      double actual = 0.0;
      for (int64_t c = 0; c < in_channels; ++c) {
        for (int64_t tap = 0; tap < 27; ++tap) {
          const int64_t at[3] = {z + tap / 9 - 1, y + tap / 3 % 3 - 1, x + tap % 3 - 1};
          if (std::min({at[0], at[1], at[2]}) < 0 || std::max({at[0], at[1], at[2]}) >= 2 * n) {
            continue;
          }
          expected +=
              voxel(c, at[0] / 2, at[1] / 2, at[2] / 2) *
              static_cast<double>(kernel[static_cast<size_t>((out * in_channels + c) * 27 + tap)]);
        }
        const int64_t phase = z % 2 * 4 + y % 2 * 2 + x % 2;
        for (int64_t tap = 0; tap < 8; ++tap) {
          actual += voxel(c, (z + 1) / 2 - 1 + tap / 4, (y + 1) / 2 - 1 + tap / 2 % 2,
                          (x + 1) / 2 - 1 + tap % 2) *
                    static_cast<double>(folded[static_cast<size_t>(
                        ((phase * out_channels + out) * in_channels + c) * 8 + tap)]);
        }
      }
      ASSERT_NEAR(actual, expected, 1e-5) << out << " " << i;
    }
  }
}

}  // namespace
}  // namespace synthvol::model
