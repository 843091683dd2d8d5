// "Upsample x2 (nearest), then convolve k3 p1" with autograd on the CPU, with 27 products for 8
// outputs instead of 216, forward and backward (docs/training.md).
//
// Convolving with one tap commutes with upsampling, so all 27 taps of all output channels are one
// matrix product on the small grid, [O*27,I] x [I,D*H*W]; model/kernels/upsample_taps.h adds them
// up. Output channels are taken some at a time, so that what lies between the two stays in the
// cache.
//
// Thread-safe. Keeps no state; the graph keeps the input and the weight, nothing upsampled.
#ifndef SYNTHVOL_MODEL_NETS_UPSAMPLE_CONVOLUTION_H_
#define SYNTHVOL_MODEL_NETS_UPSAMPLE_CONVOLUTION_H_

#include <ATen/core/Tensor.h>

namespace synthvol::model {

// Maps [N,I,D,H,W] to [N,O,2D,2H,2W] with weight [O,I,3,3,3] and bias [O], all float32 on the CPU.
// Under autocast the products are taken in bfloat16 and summed in float32. Differentiable once, in
// all three.
at::Tensor UpsampleConvolveTaps(const at::Tensor& input, const at::Tensor& weight,
                                const at::Tensor& bias);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_UPSAMPLE_CONVOLUTION_H_
