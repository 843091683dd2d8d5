// Layers that the networks share, as functions over tensors with autograd.
//
// Feature maps are [N,C,D,H,W]. Functions are pure and thread-safe.
#ifndef SYNTHVOL_MODEL_NETS_LAYERS_H_
#define SYNTHVOL_MODEL_NETS_LAYERS_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>

#include "model/nets/parameter_set.h"

namespace synthvol::model {

// How convolutions of kernel 3 are computed. Both give the same voxels up to rounding.
enum class ConvolutionPath {
  // With less arithmetic and fewer passes over memory. On the CPU: upsampled ones by their taps
  // (upsample_convolution.h), others by Winograd's where it pays (winograd_convolution.h). On a
  // GPU: channels-last, upsampled ones by a folded kernel, those with stride by blocks
  // (strided_convolution.h), and norms and activations fused (fused_kernels.h).
  kFast,
  // As written in the papers; kept for comparison and tests.
  kPlain,
};

using Triple = std::array<int64_t, 3>;

// Convolves NAME with kernel 3 and padding 1.
at::Tensor Convolve3(const ParameterSet& net, const std::string& name, const at::Tensor& input,
                     ConvolutionPath path = ConvolutionPath::kPlain);

// Upsamples by two (nearest), then convolves NAME with kernel 3 and padding 1, the plain way.
at::Tensor UpsampleConvolvePlain(const ParameterSet& net, const std::string& name,
                                 const at::Tensor& input);

// Whether work on `tensor` takes the fast path's form for GPUs.
bool UsesDeviceKernels(const at::Tensor& tensor, ConvolutionPath path);

// Which convolution a stage has.
enum class StageKind {
  kKeep,   // kernel 3, padding 1
  kHalve,  // kernel 4, stride 2, padding 1
};

// Convolves CONV, then applies GroupNorm NORM and ReLU.
at::Tensor ConvolveNormRelu(const ParameterSet& net, const std::string& conv,
                            const std::string& norm, const at::Tensor& input, StageKind kind,
                            ConvolutionPath path);

// Convolves NAME with kernel 4, stride 2 and padding 1, which halves every axis.
at::Tensor ConvolveHalve(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                         ConvolutionPath path);

// Applies GroupNorm NAME, then ReLU.
at::Tensor NormRelu(const ParameterSet& net, const std::string& name, const at::Tensor& input);

// Returns NAME.weight divided by its largest singular value, estimated by one step of power
// iteration from `power` [1,O] (Miyato et al. 2018, algorithm 1); `next` receives the new vector.
// The gradient treats the singular vectors as constants, as the released code does.
at::Tensor SpectralWeight(const ParameterSet& net, const std::string& name, const at::Tensor& power,
                          at::Tensor& next);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_LAYERS_H_
