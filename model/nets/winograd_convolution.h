// "Convolve k3 p1" with autograd on the CPU, with 64 products for 8 outputs instead of 216, forward
// and backward: Winograd's F(2x2x2, 3x3x3) (docs/training.md).
//
// A block of tiles goes through transform, products and transform while it lies in the cache.
//
// Thread-safe. Keeps no state; the graph keeps the input and the weight.
#ifndef SYNTHVOL_MODEL_NETS_WINOGRAD_CONVOLUTION_H_
#define SYNTHVOL_MODEL_NETS_WINOGRAD_CONVOLUTION_H_

#include <ATen/core/Tensor.h>

namespace synthvol::model {

// Returns whether it pays, and can be done, for input [N,I,D,H,W] and weight [O,I,3,3,3]: float32
// on the CPU, even extents, channels and rows enough to fill vectors.
bool WinogradPays(const at::Tensor& input, const at::Tensor& weight);

// Maps [N,I,D,H,W] to [N,O,D,H,W] with weight [O,I,3,3,3] and bias [O] for which WinogradPays.
// Differentiable once, in all three.
at::Tensor WinogradConvolve(const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_WINOGRAD_CONVOLUTION_H_
