#include "model/nets/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <optional>

#include "model/nets/fused_kernels.h"
#include "model/nets/network_shape.h"
#include "model/nets/strided_convolution.h"
#include "model/nets/winograd_convolution.h"

namespace synthvol::model {
namespace {

// Blocks of 2x2x2 voxels hold this many channels at most: more are enough for cuDNN as they are.
constexpr int64_t kFewChannels = 8;

constexpr double kNormalizeEpsilon = 1e-12;

at::Tensor Normalize(const at::Tensor& row) {
  return row / row.norm().clamp_min(kNormalizeEpsilon);
}

}  // namespace

bool UsesDeviceKernels(const at::Tensor& tensor, ConvolutionPath path) {
  return path == ConvolutionPath::kFast && tensor.is_cuda();
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

at::Tensor ConvolveHalve(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                         ConvolutionPath path) {
  if (!UsesDeviceKernels(input, path)) {
    return at::conv3d(input, weight, bias, /*stride=*/2, /*padding=*/1);
  }
  if (input.size(1) <= kFewChannels) return ConvolveBlocks(input, weight, bias);
  return at::conv3d(input.contiguous(at::MemoryFormat::ChannelsLast3d), weight, bias, /*stride=*/2,
                    /*padding=*/1);
}

at::Tensor ConvolveNormRelu(const ParameterSet& net, const std::string& conv,
                            const std::string& norm, const at::Tensor& input, StageKind kind,
                            ConvolutionPath path) {
  const at::Tensor& weight = net[conv + ".weight"];
  const at::Tensor& bias = net[conv + ".bias"];
  if (!UsesDeviceKernels(input, path)) {
    return NormRelu(net, norm,
                    kind == StageKind::kHalve ? ConvolveHalve(input, weight, bias, path)
                                              : Convolve3(net, conv, input, path));
  }
  // The bias is left to the norm.
  const at::Tensor raw =
      kind == StageKind::kHalve
          ? ConvolveHalve(input, weight, {}, path)
          : at::conv3d(input.contiguous(at::MemoryFormat::ChannelsLast3d), weight, {},
                       /*stride=*/1, /*padding=*/1);
  return FusedNormRelu({raw, bias, net[norm + ".weight"], net[norm + ".bias"]});
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
