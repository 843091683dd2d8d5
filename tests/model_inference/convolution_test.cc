// A layer of the engine beside the convolution written down plainly: zero padding, taps, sums in
// double. Every instruction set, both kinds, both ways of running it, awkward channel counts.
#include "model/inference/convolution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "layer_testing.h"
#include "model/inference/last_layer.h"

namespace synthvol::model {
namespace {

// A feature map [z][y][x][padded channels] with its normalised values for the plain loops.
struct Map {
  int64_t size;
  int64_t channels;
  std::vector<float> raw;
  std::vector<float> scale;
  std::vector<float> shift;

  Map(int64_t map_size, int64_t map_channels) : size(map_size), channels(map_channels) {
    const int64_t padded = Padded(channels);
    raw = Noise(size * size * size * padded, 21);
    scale = Noise(padded, 22);
    shift = Noise(padded, 23);
    for (int64_t c = channels; c < padded; ++c) {
      scale[static_cast<size_t>(c)] = shift[static_cast<size_t>(c)] = 0.0F;
    }
  }
  Activation activation() { return {raw.data(), size, Padded(channels), size}; }
  Normalisation normalisation() const { return {scale.data(), shift.data()}; }
  // relu(x * scale + shift), zero outside.
  double At(int64_t z, int64_t y, int64_t x, int64_t c) const {
    if (std::min({z, y, x}) < 0 || std::max({z, y, x}) >= size) return 0.0;
    const auto at = static_cast<size_t>(c);
    const float value =
        raw[static_cast<size_t>(((z * size + y) * size + x) * Padded(channels) + c)];
    return std::max(0.0, static_cast<double>(value) * static_cast<double>(scale[at]) +
                             static_cast<double>(shift[at]));
  }
};

// One output of UP x2 (or not), then k3 p1: the sum over taps and inputs.
double PlainOutput(const Map& in, ConvolutionKind kind, const std::vector<float>& kernel,
                   int64_t out_channel, int64_t z, int64_t y, int64_t x) {
  const int64_t factor = kind == ConvolutionKind::kUp ? 2 : 1;
  const int64_t extent = in.size * factor;
  double sum = 0.0;
  for (int64_t tap = 0; tap < 27; ++tap) {
    const int64_t tz = z + tap / 9 - 1;
    const int64_t ty = y + tap / 3 % 3 - 1;
    const int64_t tx = x + tap % 3 - 1;
    if (std::min({tz, ty, tx}) < 0 || std::max({tz, ty, tx}) >= extent) continue;
    for (int64_t c = 0; c < in.channels; ++c) {
      sum += in.At(tz / factor, ty / factor, tx / factor, c) *
             static_cast<double>(
                 kernel[static_cast<size_t>((out_channel * in.channels + c) * 27 + tap)]);
    }
  }
  return sum;
}

using Case = std::tuple<const Kernels*, ConvolutionKind>;
class ConvolutionTest : public testing::TestWithParam<Case> {};

TEST_P(ConvolutionTest, GivesThePlainSumsAndGroupNormsFactors) {
  const auto [kernels, kind] = GetParam();
  struct Shape {
    int64_t in_channels, out_channels, in_size;
  };
  for (const Shape& shape : {Shape{16, 16, 4}, Shape{24, 8, 8}, Shape{8, 40, 4}}) {
    Map in(shape.in_size, shape.in_channels);
    const auto kernel = Noise(shape.out_channels * shape.in_channels * 27, 41);
    const auto layer =
        MakeLayer(kind, shape.in_channels, shape.out_channels, shape.in_size, kernel);
    const int64_t size = layer.plan.out_size();
    std::vector<float> out(static_cast<size_t>(size * size * size * layer.out_channels));
    std::vector<float> sums(static_cast<size_t>(BlockSumFloats(layer)));
    const ConvolutionCall call{kernels,
                               &layer,
                               in.activation(),
                               in.normalisation(),
                               {out.data(), size, layer.out_channels, size},
                               sums.data()};
    Backwards run{
        std::vector<float>(static_cast<size_t>(ScratchFloats(layer, ConvolutionMode::kBlocks)))};
    RunBlocks(call, 0, layer.plan.BlocksAlong(0), run);

    std::vector<double> group_sum(kGroups);
    std::vector<double> group_squares(kGroups);
    double largest = 0.0;
    for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
      const int64_t c = i % layer.out_channels;
      const int64_t voxel = i / layer.out_channels;
      const auto actual = static_cast<double>(out[static_cast<size_t>(i)]);
      if (c >= shape.out_channels) {
        ASSERT_EQ(actual, 0.0) << "padded channels stay zero";
        continue;
      }
      const double expected = PlainOutput(in, kind, kernel, c, voxel / (size * size),
                                          voxel / size % size, voxel % size) +
                              static_cast<double>(layer.bias[static_cast<size_t>(c)]);
      largest = std::max(largest, std::abs(actual - expected));
      const auto group = static_cast<size_t>(c / (shape.out_channels / kGroups));
      group_sum[group] += expected;
      group_squares[group] += expected * expected;
    }
    EXPECT_LT(largest, 3e-5);

    std::vector<float> scale(static_cast<size_t>(layer.out_channels));
    std::vector<float> shift(static_cast<size_t>(layer.out_channels));
    ASSERT_TRUE(
        FinishNormalisation(layer, sums.data(), absl::MakeSpan(scale), absl::MakeSpan(shift)));
    const double count = static_cast<double>(size * size * size * shape.out_channels / kGroups);
    for (int64_t c = 0; c < shape.out_channels; ++c) {
      const auto at = static_cast<size_t>(c);
      const auto group = static_cast<size_t>(c / (shape.out_channels / kGroups));
      const double mean = group_sum[group] / count;
      const double variance = group_squares[group] / count - mean * mean;
      const double factor = static_cast<double>(layer.gamma[at]) / std::sqrt(variance + 1e-5);
      EXPECT_NEAR(scale[at], factor, 1e-5 * std::abs(factor) + 1e-6);
      EXPECT_NEAR(shift[at], static_cast<double>(layer.beta[at]) - mean * factor, 1e-5);
    }
  }
}

TEST_P(ConvolutionTest, GivesTheSameBitsInBlocksInPhasesAndByPlanes) {
  const auto [kernels, kind] = GetParam();
  Map in(8, 32);
  const auto kernel = Noise(32 * 32 * 27, 42);
  const auto layer = MakeLayer(kind, 32, 32, 8, kernel);
  const int64_t size = layer.plan.out_size();
  std::vector<float> blocks(static_cast<size_t>(size * size * size * 32));
  std::vector<float> phases(blocks.size());
  std::vector<float> planes(blocks.size());
  std::vector<float> block_sums(static_cast<size_t>(BlockSumFloats(layer)));
  std::vector<float> phase_sums(block_sums.size());
  ConvolutionCall call{kernels,
                       &layer,
                       in.activation(),
                       in.normalisation(),
                       {blocks.data(), size, 32, size},
                       block_sums.data()};
  Backwards run{
      std::vector<float>(static_cast<size_t>(ScratchFloats(layer, ConvolutionMode::kBlocks)))};
  RunBlocks(call, 0, layer.plan.BlocksAlong(0), run);

  call.out.data = phases.data();
  call.block_sums = phase_sums.data();
  std::vector<float> shared(static_cast<size_t>(SharedFloats(layer, ConvolutionMode::kPhases)));
  RunPhases(call, shared.data(), run);
  EXPECT_EQ(blocks, phases);
  EXPECT_EQ(block_sums, phase_sums);

  call.out.data = planes.data();
  call.block_sums = nullptr;
  for (int64_t z = layer.plan.BlocksAlong(0) - 1; z >= 0; --z) RunBlocks(call, z, z + 1, run);
  EXPECT_EQ(blocks, planes);
}

TEST_P(ConvolutionTest, TakesAnInputWithoutNormalisationAsItIs) {
  const auto [kernels, kind] = GetParam();
  Map in(4, 16);
  const auto kernel = Noise(16 * 16 * 27, 43);
  const auto layer = MakeLayer(kind, 16, 16, 4, kernel);
  const int64_t size = layer.plan.out_size();
  std::vector<float> out(static_cast<size_t>(size * size * size * 16));
  const ConvolutionCall call{kernels, &layer, in.activation(), {}, {out.data(), size, 16, size},
                             nullptr};
  Backwards run{
      std::vector<float>(static_cast<size_t>(ScratchFloats(layer, ConvolutionMode::kBlocks)))};
  RunBlocks(call, 0, layer.plan.BlocksAlong(0), run);
  // The corner sees 8 voxels (kSame) or the corner voxel 8 times (kUp); negative values count.
  double expected = static_cast<double>(layer.bias[0]);
  for (int64_t tap = 0; tap < 27; ++tap) {
    const int64_t at[3] = {tap / 9 - 1, tap / 3 % 3 - 1, tap % 3 - 1};
    if (std::min({at[0], at[1], at[2]}) < 0) continue;
    const int64_t factor = kind == ConvolutionKind::kUp ? 2 : 1;
    const int64_t voxel = ((at[0] / factor) * 4 + at[1] / factor) * 4 + at[2] / factor;
    for (int64_t c = 0; c < 16; ++c) {
      expected += static_cast<double>(in.raw[static_cast<size_t>(voxel * 16 + c)]) *
                  static_cast<double>(kernel[static_cast<size_t>(c * 27 + tap)]);
    }
  }
  EXPECT_NEAR(out[0], expected, 2e-5);
}

INSTANTIATE_TEST_SUITE_P(All, ConvolutionTest,
                         testing::Combine(testing::ValuesIn(AvailableKernels()),
                                          testing::Values(ConvolutionKind::kUp,
                                                          ConvolutionKind::kSame)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)->name) +
                                  (std::get<1>(test.param) == ConvolutionKind::kUp ? "_up"
                                                                                   : "_same");
                         });

class LastLayerTest : public testing::TestWithParam<const Kernels*> {};

TEST_P(LastLayerTest, GivesThePlainVolumeSlabBySlab) {
  const int64_t n = 32;
  const int64_t channels = 8;
  Map in(n, channels);
  const auto kernel = Noise(channels * 27, 51);
  PackedLastLayer layer;
  layer.in_channels = Padded(channels);
  layer.bias = 0.25F;
  layer.rows.assign(static_cast<size_t>(27 * layer.in_channels), 0.0F);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t tap = 0; tap < 27; ++tap) {
      layer.rows[static_cast<size_t>(tap * layer.in_channels + c)] =
          kernel[static_cast<size_t>(c * 27 + tap)];
    }
  }
  std::vector<float> whole(static_cast<size_t>(8 * n * n * n));
  LastLayerCall call{GetParam(), &layer, in.activation(), in.normalisation(), whole.data()};
  Backwards run{
      std::vector<float>(static_cast<size_t>(LastLayerScratchFloats(n, layer.in_channels)))};
  RunLastLayer(call, 0, n, run);
  double largest = 0.0;
  for (int64_t i = 0; i < 8 * n * n * n; i += 7) {
    const int64_t z = i / (4 * n * n);
    const int64_t y = i / (2 * n) % (2 * n);
    const int64_t x = i % (2 * n);
    const double expected =
        std::tanh(0.25 + PlainOutput(in, ConvolutionKind::kUp, kernel, 0, z, y, x));
    largest =
        std::max(largest, std::abs(static_cast<double>(whole[static_cast<size_t>(i)]) - expected));
  }
  EXPECT_LT(largest, 2e-6);

  for (const int64_t planes : {1, 3, 8}) {
    std::vector<float> slab(static_cast<size_t>(8 * planes * n * n));
    for (int64_t z = 0; z + planes <= n; z += planes) {
      call.unit = slab.data();
      RunLastLayer(call, z, z + planes, run);
      for (size_t i = 0; i < slab.size(); ++i) {
        ASSERT_EQ(slab[i], whole[static_cast<size_t>(8 * z * n * n) + i]) << planes << " " << z;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, LastLayerTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace synthvol::model
