// Winograd's convolution against the plain one in double: values and all three gradients, on shapes
// that are cut in every way.
#include "model/nets/winograd_convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

namespace synthvol::model {
namespace {

struct Shape {
  int64_t samples, inputs, outputs, depth, height, width;
};

// What a convolution gives, and what flows back through it.
struct Results {
  at::Tensor output;
  at::Tensor input_gradient;
  at::Tensor weight_gradient;
  at::Tensor bias_gradient;
};

struct Inputs {
  explicit Inputs(const Shape& s) {
    at::manual_seed(5);
    input = at::randn({s.samples, s.inputs, s.depth, s.height, s.width});
    weight = at::randn({s.outputs, s.inputs, 3, 3, 3}) * 0.2;
    bias = at::randn({s.outputs});
    gradient = at::randn({s.samples, s.outputs, s.depth, s.height, s.width});
  }
  at::Tensor input, weight, bias, gradient;
};

template <typename Convolution>
Results PushThrough(const Inputs& in, at::ScalarType type, const Convolution& convolve) {
  const auto leaf = [type](const at::Tensor& t) {
    return t.to(type).clone().set_requires_grad(true);
  };
  const at::Tensor input = leaf(in.input);
  const at::Tensor weight = leaf(in.weight);
  const at::Tensor bias = leaf(in.bias);
  const at::Tensor output = convolve(input, weight, bias);
  output.backward(in.gradient.to(type));
  return {output.detach(), input.grad(), weight.grad(), bias.grad()};
}

at::Tensor Plain(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  return at::conv3d(input, weight, bias, /*stride=*/1, /*padding=*/1);
}

// Largest difference relative to the largest value.
double Difference(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  const at::Tensor a = actual.to(at::kDouble);
  return ((a - expected).abs().max() / expected.abs().max()).item<double>();
}

class WinogradConvolutionTest : public testing::TestWithParam<Shape> {};

TEST_P(WinogradConvolutionTest, GivesWhatThePlainConvolutionGives) {
  const Inputs in(GetParam());
  ASSERT_TRUE(WinogradPays(in.input, in.weight));
  const Results actual = PushThrough(in, at::kFloat, WinogradConvolve);
  const Results expected = PushThrough(in, at::kDouble, Plain);
  EXPECT_LT(Difference(actual.output, expected.output), 2e-5);
  EXPECT_LT(Difference(actual.input_gradient, expected.input_gradient), 2e-5);
  EXPECT_LT(Difference(actual.weight_gradient, expected.weight_gradient), 2e-5);
  EXPECT_LT(Difference(actual.bias_gradient, expected.bias_gradient), 2e-5);
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
  const Inputs in(Shape{2, 16, 16, 2, 4, 16});
  const at::Tensor input = in.input.clone().set_requires_grad(true);
  WinogradConvolve(input, in.weight, in.bias).backward(in.gradient);
  EXPECT_TRUE(input.grad().defined());
  EXPECT_FALSE(in.weight.grad().defined());
  const at::Tensor weight = in.weight.clone().set_requires_grad(true);
  WinogradConvolve(in.input, weight, in.bias).backward(in.gradient);
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_FALSE(in.input.grad().defined());
}

TEST(WinogradConvolution, TakesViews) {
  const Inputs in(Shape{2, 16, 16, 8, 4, 16});
  const at::Tensor part = in.input.narrow(2, 2, 4);
  const at::Tensor expected = WinogradConvolve(part.contiguous(), in.weight, in.bias);
  EXPECT_TRUE(at::equal(WinogradConvolve(part, in.weight, in.bias), expected));
}

TEST(WinogradConvolution, GivesTheSameBitsAgain) {
  const Inputs in(Shape{2, 16, 24, 4, 22, 64});
  const Results once = PushThrough(in, at::kFloat, WinogradConvolve);
  const Results again = PushThrough(in, at::kFloat, WinogradConvolve);
  EXPECT_TRUE(at::equal(once.output, again.output));
  EXPECT_TRUE(at::equal(once.weight_gradient, again.weight_gradient));
  EXPECT_TRUE(at::equal(once.input_gradient, again.input_gradient));
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
