#include "model/nets/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <optional>

#include "model/nets/network_shape.h"
#include "model/nets/winograd_convolution.h"

namespace synthvol::model {
namespace {

// Row r of the matrix gives where tap r of the 3-tap kernel lands in the 4-tap one.
at::Tensor FoldMatrix1d() {
  at::Tensor fold = at::zeros({3, 4}, at::kFloat);
  auto f = fold.accessor<float, 2>();
  f[0][2] = f[0][3] = 1.0F;
  f[1][1] = f[1][2] = 1.0F;
  f[2][0] = f[2][1] = 1.0F;
  return fold;
}

// Returns the [27, 64] matrix that folds the three axes at once.
const at::Tensor& FoldMatrix() {
  static const at::Tensor* const matrix = [] {
    const at::Tensor axis = FoldMatrix1d();
    return new at::Tensor(at::kron(axis, at::kron(axis, axis)).contiguous());
  }();
  return *matrix;
}

constexpr double kNormalizeEpsilon = 1e-12;

at::Tensor Normalize(const at::Tensor& row) {
  return row / row.norm().clamp_min(kNormalizeEpsilon);
}

}  // namespace

at::Tensor FoldUpsampleKernel(const at::Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const int64_t inputs = weight.size(1);
  const at::Tensor rows = weight.transpose(0, 1).reshape({inputs * outputs, 27});  // [I*O,27]
  return at::matmul(rows, FoldMatrix().to(weight.device())).view({inputs, outputs, 4, 4, 4});
}

at::Tensor Convolve3(const ParameterSet& net, const std::string& name, const at::Tensor& input,
                     ConvolutionPath path) {
  const at::Tensor& weight = net[name + ".weight"];
  const at::Tensor& bias = net[name + ".bias"];
  if (path == ConvolutionPath::kFast && WinogradPays(input, weight)) {
    return WinogradConvolve(input, weight, bias);
  }
  return at::conv3d(input, weight, bias, /*stride=*/1, /*padding=*/1);
}

at::Tensor UpsampleConvolvePlain(const ParameterSet& net, const std::string& name,
                                 const at::Tensor& input) {
  const at::Tensor large =
      at::upsample_nearest3d(input, {2 * input.size(2), 2 * input.size(3), 2 * input.size(4)});
  return Convolve3(net, name, large);
}

at::Tensor NormRelu(const ParameterSet& net, const std::string& name, const at::Tensor& input) {
  return at::group_norm(input, kNormGroups, net[name + ".weight"], net[name + ".bias"],
                        kNormEpsilon)
      .relu_();
}

at::Tensor SpectralWeight(const ParameterSet& net, const std::string& name, const at::Tensor& power,
                          at::Tensor& next) {
  const at::Tensor& weight = net[name + ".weight"];
  const at::Tensor matrix = weight.reshape({weight.size(0), -1});  // [O,K]
  at::Tensor right;                                                // [1,K]
  {
    const at::NoGradGuard no_grad;
    right = Normalize(at::matmul(power, matrix));
    next = Normalize(at::matmul(right, matrix.t()));  // [1,O]
  }
  const at::Tensor sigma = at::matmul(at::matmul(right, matrix.t()), next.t()).reshape({});
  return weight / sigma;
}

}  // namespace synthvol::model
