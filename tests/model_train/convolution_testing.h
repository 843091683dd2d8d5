// What the tests of training's own convolutions share: inputs, a push through forward and backward,
// and what must hold for any of them.
#ifndef SYNTHVOL_TESTS_MODEL_TRAIN_CONVOLUTION_TESTING_H_
#define SYNTHVOL_TESTS_MODEL_TRAIN_CONVOLUTION_TESTING_H_

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>

namespace synthvol::model {

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

// Random inputs; the outputs' grid is `scale` times as large along each axis.
struct Inputs {
  Inputs(const Shape& s, int64_t scale) {
    at::manual_seed(5);
    input = at::randn({s.samples, s.inputs, s.depth, s.height, s.width});
    weight = at::randn({s.outputs, s.inputs, 3, 3, 3}) * 0.2;
    bias = at::randn({s.outputs});
    gradient =
        at::randn({s.samples, s.outputs, scale * s.depth, scale * s.height, scale * s.width});
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

// Largest difference relative to the largest value.
inline double Difference(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  const at::Tensor a = actual.to(at::kDouble);
  return ((a - expected).abs().max() / expected.abs().max()).item<double>();
}

inline void ExpectNear(const Results& actual, const Results& expected, double tolerance) {
  EXPECT_LT(Difference(actual.output, expected.output), tolerance);
  EXPECT_LT(Difference(actual.input_gradient, expected.input_gradient), tolerance);
  EXPECT_LT(Difference(actual.weight_gradient, expected.weight_gradient), tolerance);
  EXPECT_LT(Difference(actual.bias_gradient, expected.bias_gradient), tolerance);
}

template <typename Convolution>
void ExpectOnlyTheGradientsThatAreWanted(const Inputs& in, const Convolution& convolve) {
  const at::Tensor input = in.input.clone().set_requires_grad(true);
  convolve(input, in.weight, in.bias).backward(in.gradient);
  EXPECT_TRUE(input.grad().defined());
  EXPECT_FALSE(in.weight.grad().defined());
  const at::Tensor weight = in.weight.clone().set_requires_grad(true);
  convolve(in.input, weight, in.bias).backward(in.gradient);
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_FALSE(in.input.grad().defined());
}

// `part` is a view of in.input.
template <typename Convolution>
void ExpectThatItTakesViews(const Inputs& in, const at::Tensor& part, const Convolution& convolve) {
  const at::Tensor expected = convolve(part.contiguous(), in.weight, in.bias);
  EXPECT_TRUE(at::equal(convolve(part, in.weight, in.bias), expected));
}

template <typename Convolution>
void ExpectTheSameBitsAgain(const Inputs& in, const Convolution& convolve) {
  const Results once = PushThrough(in, at::kFloat, convolve);
  const Results again = PushThrough(in, at::kFloat, convolve);
  EXPECT_TRUE(at::equal(once.output, again.output));
  EXPECT_TRUE(at::equal(once.weight_gradient, again.weight_gradient));
  EXPECT_TRUE(at::equal(once.input_gradient, again.input_gradient));
}

}  // namespace synthvol::model

#endif  // SYNTHVOL_TESTS_MODEL_TRAIN_CONVOLUTION_TESTING_H_
