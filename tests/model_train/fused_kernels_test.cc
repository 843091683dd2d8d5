// The GPU's forms of the layers, computed with plain operators on the CPU, beside the layers as
// written: same values, same gradients.
#include "model/nets/fused_kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "convolution_testing.h"
#include "model/nets/network_shape.h"
#include "model/nets/strided_convolution.h"

namespace synthvol::model {
namespace {

at::Tensor Leaf(at::IntArrayRef shape) { return at::randn(shape).set_requires_grad(true); }

// Sends the same random gradient back through both and compares outputs and gradients.
void ExpectSame(const at::Tensor& actual, const at::Tensor& expected,
                const std::vector<at::Tensor>& leaves) {
  ASSERT_EQ(actual.sizes(), expected.sizes());
  EXPECT_LT(Difference(actual.detach(), expected.detach().to(at::kDouble)), 1e-5);
  const at::Tensor gradient = at::randn(expected.sizes());
  const auto gradients = [&](const at::Tensor& output) {
    std::vector<at::Tensor> result;
    output.backward(gradient);
    for (const at::Tensor& leaf : leaves) {
      result.push_back(leaf.grad().clone());
      leaf.mutable_grad() = at::Tensor();
    }
    return result;
  };
  const auto mine = gradients(actual);
  const auto theirs = gradients(expected);
  for (size_t i = 0; i < leaves.size(); ++i) {
    EXPECT_LT(Difference(mine[i], theirs[i].to(at::kDouble)), 1e-4) << "leaf " << i;
  }
}

TEST(PhaseKernel, GivesTheUpsampledConvolution) {
  at::manual_seed(1);
  for (const auto& [inputs, outputs] : {std::pair<int64_t, int64_t>{3, 5}, {8, 1}}) {
    const at::Tensor input = Leaf({2, inputs, 2, 3, 4});
    const at::Tensor weight = Leaf({outputs, inputs, 3, 3, 3});
    const at::Tensor phases = at::conv3d(input, FoldPhaseKernel(weight), {}, 1, 1);
    ExpectSame(PhasesToMap(phases),
               at::conv3d(at::upsample_nearest3d(input, {4, 6, 8}), weight, {}, 1, 1),
               {input, weight});
  }
}

TEST(BlockConvolution, GivesTheStridedConvolution) {
  at::manual_seed(2);
  for (const int64_t inputs : {1, 6}) {
    const at::Tensor input = Leaf({2, inputs, 4, 6, 8});
    const at::Tensor weight = Leaf({5, inputs, 4, 4, 4});
    const at::Tensor bias = Leaf({5});
    ExpectSame(ConvolveBlocks(input, weight, bias), at::conv3d(input, weight, bias, 2, 1),
               {input, weight, bias});
  }
}

TEST(FusedNormRelu, IsBiasGroupNormAndRelu) {
  at::manual_seed(3);
  const at::Tensor shift = Leaf({16});
  const at::Tensor gamma = Leaf({16});
  const at::Tensor beta = Leaf({16});
  for (const bool phases : {false, true}) {
    const at::Tensor map = phases ? Leaf({2, 8 * 16, 3, 4, 2}) : Leaf({2, 16, 4, 6, 2});
    const at::Tensor placed = phases ? PhasesToMap(map) : map;
    ExpectSame(FusedNormRelu({map, shift, gamma, beta, phases}),
               at::group_norm(placed + shift.view({1, 16, 1, 1, 1}), kNormGroups, gamma, beta,
                              kNormEpsilon)
                   .relu(),
               {map, shift, gamma, beta});
  }
  const at::Tensor map = at::randn({1, 16, 4, 4, 4});
  const at::Tensor expected = FusedNormRelu({map.clone(), shift, gamma, beta});
  FusedNormReluInPlace({map, shift, gamma, beta});
  EXPECT_TRUE(at::equal(map, expected));
}

TEST(NormReluConvolve, IsTheNormThenTheConvolution) {
  at::manual_seed(5);
  const at::Tensor shift = Leaf({8});
  const at::Tensor gamma = Leaf({8});
  const at::Tensor beta = Leaf({8});
  for (const bool phases : {false, true}) {
    const at::Tensor map = phases ? Leaf({2, 8 * 8, 3, 4, 2}) : Leaf({2, 8, 4, 6, 2});
    const NormReluInput input{map, shift, gamma, beta, phases};
    const at::Tensor keep = Leaf({5, 8, 3, 3, 3});
    ExpectSame(NormReluConvolve(input, keep, 1, 1),
               at::conv3d(FusedNormRelu(input), keep, {}, 1, 1), {map, shift, gamma, beta, keep});
    const at::Tensor halve = Leaf({5, 8, 4, 4, 4});
    ExpectSame(NormReluConvolve(input, halve, 2, 1),
               at::conv3d(FusedNormRelu(input), halve, {}, 2, 1), {map, shift, gamma, beta, halve});
  }
}

TEST(FusedTanhPhases, IsBiasAndTanhInPlace) {
  at::manual_seed(4);
  const at::Tensor phases = Leaf({2, 8, 3, 2, 4});
  const at::Tensor shift = Leaf({1});
  ExpectSame(FusedTanhPhases(phases, shift), (PhasesToMap(phases) + shift).tanh(), {phases, shift});
}

}  // namespace
}  // namespace synthvol::model
