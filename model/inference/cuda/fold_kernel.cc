#include "model/inference/cuda/fold_kernel.h"

#include <array>

namespace synthvol::model {
namespace {

// taps[phase][position]: which of the three taps an output's two positions sum.
constexpr std::array<std::array<std::array<double, 3>, 2>, 2> kFold{
    {{{{1, 0, 0}, {0, 1, 1}}}, {{{1, 1, 0}, {0, 0, 1}}}}};

// One folded tap of one (output, input) pair.
double FoldTap(const float* taps, int64_t phase, int64_t position) {
  const auto axis = [&](int64_t shift) -> const std::array<double, 3>& {
    return kFold[static_cast<size_t>(phase >> shift & 1)]
                [static_cast<size_t>(position >> shift & 1)];
  };
  double sum = 0.0;
  for (size_t z = 0; z < 3; ++z) {
    for (size_t y = 0; y < 3; ++y) {
      for (size_t x = 0; x < 3; ++x) {
        sum +=
            axis(2)[z] * axis(1)[y] * axis(0)[x] * static_cast<double>(taps[(z * 3 + y) * 3 + x]);
      }
    }
  }
  return sum;
}

}  // namespace

std::vector<float> FoldKernel(absl::Span<const float> kernel, int64_t out_channels,
                              int64_t in_channels) {
  std::vector<float> folded(static_cast<size_t>(8 * out_channels * in_channels * 8));
  const int64_t pairs = out_channels * in_channels;
  for (int64_t phase = 0; phase < 8; ++phase) {
    for (int64_t pair = 0; pair < pairs; ++pair) {
      for (int64_t position = 0; position < 8; ++position) {
        folded[static_cast<size_t>((phase * pairs + pair) * 8 + position)] =
            static_cast<float>(FoldTap(kernel.data() + pair * 27, phase, position));
      }
    }
  }
  return folded;
}

}  // namespace synthvol::model
