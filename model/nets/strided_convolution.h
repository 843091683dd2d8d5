// Convolutions in forms that tensor cores like: small kernels, stride 1, many channels. The same
// sums as the plain forms, so the same values up to rounding. All differentiable, pure,
// thread-safe.
#ifndef SYNTHVOL_MODEL_NETS_STRIDED_CONVOLUTION_H_
#define SYNTHVOL_MODEL_NETS_STRIDED_CONVOLUTION_H_

#include <ATen/core/Tensor.h>

namespace synthvol::model {

// Folds nearest upsampling by two and a kernel [O,I,3,3,3] with padding 1 into the kernel
// [8*O,I,2,2,2] with padding 1 whose outputs are phases (fused_kernels.h). Along an axis, phase 0
// is (w0, w1+w2) and phase 1 (w0+w1, w2). Channels-last.
at::Tensor FoldPhaseKernel(const at::Tensor& weight);

// Convolves [N,I,D,H,W] with weight [O,I,4,4,4], stride 2, padding 1, as a convolution of the
// [N,8*I,D/2+1,H/2+1,W/2+1] blocks of 2x2x2 voxels with kernel 2 and stride 1. For few input
// channels: with one, cuDNN's own takes fifty times what moving the voxels does.
at::Tensor ConvolveBlocks(const at::Tensor& input, const at::Tensor& weight,
                          const at::Tensor& bias);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_STRIDED_CONVOLUTION_H_
