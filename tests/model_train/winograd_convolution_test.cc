// Winograd's convolution against the plain one in double: values and all three gradients, on shapes
// that are cut in every way.
#include "model/nets/winograd_convolution.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include "tests/model_train/convolution_testing.h"

namespace synthvol::model {
namespace {

at::Tensor Plain(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  return at::conv3d(input, weight, bias, /*stride=*/1, /*padding=*/1);
}

class WinogradConvolutionTest : public testing::TestWithParam<Shape> {};

TEST_P(WinogradConvolutionTest, GivesWhatThePlainConvolutionGives) {
  const Inputs in(GetParam(), 1);
  ASSERT_TRUE(WinogradPays(in.input, in.weight));
  const Results actual = PushThrough(in, at::kFloat, WinogradConvolve);
  const Results expected = PushThrough(in, at::kDouble, Plain);
  ExpectNear(actual, expected, 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Shapes, WinogradConvolutionTest,
                         testing::Values(Shape{1, 16, 16, 2, 2, 16},
                                         // Rows of tiles in several goes, the last one smaller.
                                         Shape{2, 16, 24, 4, 22, 64},
                                         // A width that fills no vector.
                                         Shape{1, 17, 19, 6, 4, 18}, Shape{3, 32, 16, 2, 16, 16},
                                         // The layers of 128 a side.
                                         Shape{1, 64, 32, 32, 32, 32}));

TEST(WinogradConvolution, GivesOnlyTheGradientsThatAreWanted) {
  const Inputs in(Shape{2, 16, 16, 2, 4, 16}, 1);
  ExpectOnlyTheGradientsThatAreWanted(in, WinogradConvolve);
}

TEST(WinogradConvolution, TakesViews) {
  const Inputs in(Shape{2, 16, 16, 8, 4, 16}, 1);
  const at::Tensor part = in.input.narrow(2, 2, 4);
  ExpectThatItTakesViews(in, part, WinogradConvolve);
}

TEST(WinogradConvolution, GivesTheSameBitsAgain) {
  const Inputs in(Shape{2, 16, 24, 4, 22, 64}, 1);
  ExpectTheSameBitsAgain(in, WinogradConvolve);
}

TEST(WinogradConvolution, LeavesWhatItCannotDoToOthers) {
  const at::Tensor weight = at::zeros({16, 16, 3, 3, 3});
  EXPECT_TRUE(WinogradPays(at::zeros({1, 16, 2, 2, 16}), weight));
  EXPECT_FALSE(WinogradPays(at::zeros({1, 16, 3, 2, 16}), weight));
  EXPECT_FALSE(WinogradPays(at::zeros({1, 16, 2, 5, 16}), weight));
  EXPECT_FALSE(WinogradPays(at::zeros({1, 16, 2, 2, 8}), weight));
  EXPECT_FALSE(WinogradPays(at::zeros({1, 16, 2, 2, 16}), at::zeros({1, 16, 3, 3, 3})));
  EXPECT_FALSE(WinogradPays(at::zeros({1, 16, 2, 2, 16}, at::kDouble), weight));
  at::autocast::set_autocast_enabled(at::kCPU, true);
  EXPECT_FALSE(WinogradPays(at::zeros({1, 16, 2, 2, 16}), weight));
  at::autocast::set_autocast_enabled(at::kCPU, false);
}

}  // namespace
}  // namespace synthvol::model
