// The taps' convolution against "upsample, then convolve" as written, in double: values and all
// three gradients, on shapes that are cut in every way.
#include "model/nets/upsample_convolution.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

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
    gradient = at::randn({s.samples, s.outputs, 2 * s.depth, 2 * s.height, 2 * s.width});
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

at::Tensor AsWritten(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor large =
      at::upsample_nearest3d(input, {2 * input.size(2), 2 * input.size(3), 2 * input.size(4)});
  return at::conv3d(large, weight, bias, /*stride=*/1, /*padding=*/1);
}

// Largest difference relative to the largest value.
double Difference(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  const at::Tensor a = actual.to(at::kDouble);
  return ((a - expected).abs().max() / expected.abs().max()).item<double>();
}

void ExpectNear(const Results& actual, const Results& expected, double tolerance) {
  EXPECT_LT(Difference(actual.output, expected.output), tolerance);
  EXPECT_LT(Difference(actual.input_gradient, expected.input_gradient), tolerance);
  EXPECT_LT(Difference(actual.weight_gradient, expected.weight_gradient), tolerance);
  EXPECT_LT(Difference(actual.bias_gradient, expected.bias_gradient), tolerance);
}

class UpsampleConvolutionTest : public testing::TestWithParam<Shape> {};

TEST_P(UpsampleConvolutionTest, GivesWhatUpsamplingAndConvolvingGive) {
  const Inputs in(GetParam());
  ExpectNear(PushThrough(in, at::kFloat, UpsampleConvolveTaps),
             PushThrough(in, at::kDouble, AsWritten), 2e-5);
}

TEST_P(UpsampleConvolutionTest, TakesProductsInBfloat16UnderAutocast) {
  const Inputs in(GetParam());
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
  const Inputs in(Shape{2, 3, 4, 2, 3, 4});
  const at::Tensor input = in.input.clone().set_requires_grad(true);
  UpsampleConvolveTaps(input, in.weight, in.bias).backward(in.gradient);
  EXPECT_TRUE(input.grad().defined());
  EXPECT_FALSE(in.weight.grad().defined());
  const at::Tensor weight = in.weight.clone().set_requires_grad(true);
  UpsampleConvolveTaps(in.input, weight, in.bias).backward(in.gradient);
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_FALSE(in.input.grad().defined());
}

TEST(UpsampleConvolution, TakesViews) {
  const Inputs in(Shape{2, 6, 4, 4, 3, 4});
  const at::Tensor part = in.input.narrow(2, 1, 2);
  const at::Tensor expected = UpsampleConvolveTaps(part.contiguous(), in.weight, in.bias);
  EXPECT_TRUE(at::equal(UpsampleConvolveTaps(part, in.weight, in.bias), expected));
}

TEST(UpsampleConvolution, GivesTheSameBitsAgain) {
  const Inputs in(Shape{2, 4, 70, 5, 16, 16});
  const Results once = PushThrough(in, at::kFloat, UpsampleConvolveTaps);
  const Results again = PushThrough(in, at::kFloat, UpsampleConvolveTaps);
  EXPECT_TRUE(at::equal(once.output, again.output));
  EXPECT_TRUE(at::equal(once.weight_gradient, again.weight_gradient));
  EXPECT_TRUE(at::equal(once.input_gradient, again.input_gradient));
}

}  // namespace
}  // namespace synthvol::model
