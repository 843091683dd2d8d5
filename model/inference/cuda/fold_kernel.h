// The upsampling before a convolution, folded into its kernel: for devices whose own convolutions
// do the work. Pure; torch-free.
#ifndef SYNTHVOL_MODEL_INFERENCE_CUDA_FOLD_KERNEL_H_
#define SYNTHVOL_MODEL_INFERENCE_CUDA_FOLD_KERNEL_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace synthvol::model {

// The folded kernel [8 phases][out][in][2][2][2] of nearest x2 then k3 p1, from [out][in][3][3][3]:
// a k2 p1 convolution of the small input. Along an axis position j = 0..n sees the voxels j-1 and
// j; the even output 2i is phase 0 of position i, with taps (w0, w1 + w2), the odd one 2i + 1 is
// phase 1 of position i + 1, with taps (w0 + w1, w2).
std::vector<float> FoldKernel(absl::Span<const float> kernel, int64_t out_channels,
                              int64_t in_channels);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_FOLD_KERNEL_H_
