// Layers that the networks share, as functions over tensors with autograd.
//
// Feature maps are [N,C,D,H,W]. Functions are pure but for the power vectors, which training
// forwards update in place. Thread-safe on distinct tensors.
#ifndef SYNTHVOL_MODEL_NETS_LAYERS_H_
#define SYNTHVOL_MODEL_NETS_LAYERS_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>

#include "model/nets/parameter_set.h"

namespace synthvol::model {

// How "upsample x2, then convolve" is computed. Both give the same voxels up to rounding.
enum class UpsamplePath {
  // One transposed convolution with a folded kernel: 27/8 less arithmetic, no upsampled tensor.
  kFolded,
  // As written in the papers; kept for comparison and tests.
  kPlain,
};

using Triple = std::array<int64_t, 3>;

// Folds nearest upsampling by two into a kernel: [O,I,3,3,3] to the kernel [I,O,4,4,4] of the
// transposed convolution with stride 2 and padding 1. Along each axis (w0, w1, w2) becomes (w2,
// w1+w2, w0+w1, w0).
at::Tensor FoldUpsampleKernel(const at::Tensor& weight);

// Convolves NAME with kernel 3 and padding 1.
at::Tensor Convolve3(const ParameterSet& net, const std::string& name, const at::Tensor& input);

// Upsamples by two (nearest), then convolves NAME with kernel 3 and padding 1, the plain way.
at::Tensor UpsampleConvolvePlain(const ParameterSet& net, const std::string& name,
                                 const at::Tensor& input);

// Applies GroupNorm NAME, then ReLU.
at::Tensor NormRelu(const ParameterSet& net, const std::string& name, const at::Tensor& input);

// Returns NAME.weight divided by its largest singular value, estimated by one step of power
// iteration from NAME.u0 (Miyato et al. 2018, algorithm 1). `training` keeps the new vector. The
// gradient treats the singular vectors as constants, as the released code does.
at::Tensor SpectralWeight(const ParameterSet& net, const std::string& name, bool training);

// Convolves with the spectrally normalised NAME.
at::Tensor SpectralConvolve(const ParameterSet& net, const std::string& name,
                            const at::Tensor& input, const Triple& stride, const Triple& padding,
                            bool training);

// Applies the spectrally normalised linear layer NAME to [N, features].
at::Tensor SpectralLinear(const ParameterSet& net, const std::string& name, const at::Tensor& input,
                          bool training);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_LAYERS_H_
