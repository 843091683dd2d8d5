// The taps' convolution against "upsample, then convolve" as written, in double: values and all
// three gradients, on shapes that are cut in every way.
#include "model/nets/upsample_convolution.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include "tests/model_train/convolution_testing.h"

namespace synthvol::model {
namespace {

at::Tensor AsWritten(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor large =
      at::upsample_nearest3d(input, {2 * input.size(2), 2 * input.size(3), 2 * input.size(4)});
  return at::conv3d(large, weight, bias, /*stride=*/1, /*padding=*/1);
}

class UpsampleConvolutionTest : public testing::TestWithParam<Shape> {};

TEST_P(UpsampleConvolutionTest, GivesWhatUpsamplingAndConvolvingGive) {
  const Inputs in(GetParam(), 2);
  ExpectNear(PushThrough(in, at::kFloat, UpsampleConvolveTaps),
             PushThrough(in, at::kDouble, AsWritten), 2e-5);
}

TEST_P(UpsampleConvolutionTest, TakesProductsInBfloat16UnderAutocast) {
  const Inputs in(GetParam(), 2);
  const Results actual =
      PushThrough(in, at::kFloat, [](const auto& x, const auto& w, const auto& b) {
        at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
        at::autocast::set_autocast_enabled(at::kCPU, true);
        at::Tensor output = UpsampleConvolveTaps(x, w, b);
        at::autocast::set_autocast_enabled(at::kCPU, false);
        at::autocast::clear_cache();
        return output;
      });
  const Results expected = PushThrough(in, at::kDouble, AsWritten);
  // Eight bits of a product's factors and of each tap.
  ExpectNear(actual, expected, 4e-2);
  if (GetParam().inputs > 1) {
    EXPECT_GT(Difference(actual.output, expected.output), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, UpsampleConvolutionTest,
                         testing::Values(Shape{1, 1, 1, 1, 1, 1}, Shape{2, 3, 5, 2, 3, 4},
                                         Shape{1, 7, 2, 1, 9, 1}, Shape{3, 16, 8, 4, 4, 4},
                                         // Samples in two goes.
                                         Shape{5, 4, 3, 4, 8, 8},
                                         // Output channels in two goes, samples one by one.
                                         Shape{2, 4, 70, 5, 16, 16},
                                         // One output channel, as the last layer.
                                         Shape{2, 32, 1, 2, 16, 32}));

TEST(UpsampleConvolution, GivesOnlyTheGradientsThatAreWanted) {
  const Inputs in(Shape{2, 3, 4, 2, 3, 4}, 2);
  ExpectOnlyTheGradientsThatAreWanted(in, UpsampleConvolveTaps);
}

TEST(UpsampleConvolution, TakesViews) {
  const Inputs in(Shape{2, 6, 4, 4, 3, 4}, 2);
  const at::Tensor part = in.input.narrow(2, 1, 2);
  ExpectThatItTakesViews(in, part, UpsampleConvolveTaps);
}

TEST(UpsampleConvolution, GivesTheSameBitsAgain) {
  const Inputs in(Shape{2, 4, 70, 5, 16, 16}, 2);
  ExpectTheSameBitsAgain(in, UpsampleConvolveTaps);
}

}  // namespace
}  // namespace synthvol::model
