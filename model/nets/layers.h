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
  // With less arithmetic. After upsampling, and without an upsampled tensor: on the CPU the taps
  // first (upsample_convolution.h), elsewhere one transposed convolution with a folded kernel.
  // Without upsampling: Winograd's on the CPU where it pays (winograd_convolution.h).
  kFast,
  // As written in the papers; kept for comparison and tests.
  kPlain,
};

using Triple = std::array<int64_t, 3>;

// Folds nearest upsampling by two into a kernel: [O,I,3,3,3] to the kernel [I,O,4,4,4] of the
// transposed convolution with stride 2 and padding 1. Along each axis (w0, w1, w2) becomes (w2,
// w1+w2, w0+w1, w0).
at::Tensor FoldUpsampleKernel(const at::Tensor& weight);

// Convolves NAME with kernel 3 and padding 1.
at::Tensor Convolve3(const ParameterSet& net, const std::string& name, const at::Tensor& input,
                     ConvolutionPath path = ConvolutionPath::kPlain);

// Upsamples by two (nearest), then convolves NAME with kernel 3 and padding 1, the plain way.
at::Tensor UpsampleConvolvePlain(const ParameterSet& net, const std::string& name,
                                 const at::Tensor& input);

// Applies GroupNorm NAME, then ReLU.
at::Tensor NormRelu(const ParameterSet& net, const std::string& name, const at::Tensor& input);

// Returns NAME.weight divided by its largest singular value, estimated by one step of power
// iteration from `power` [1,O] (Miyato et al. 2018, algorithm 1); `next` receives the new vector.
// The gradient treats the singular vectors as constants, as the released code does.
at::Tensor SpectralWeight(const ParameterSet& net, const std::string& name, const at::Tensor& power,
                          at::Tensor& next);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_LAYERS_H_
