// The convolutions of the generator on a GPU, by the form that is fastest for a precision.
#ifndef SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_CONVOLUTION_H_
#define SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_CONVOLUTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/inference/cuda/device_weights.h"
#include "model/synthesizer.h"

namespace synthvol::model {

// Strict float runs as one matrix product while its left side, a row of neighbours for each voxel,
// is no larger than this: on an H200 cuDNN's own kernels for it take two to ten times as long.
inline constexpr int64_t kMostColumnBytes = int64_t{160} << 20;

// Returns the output of `layer` on [1,C,n,n,n], channels-last, without its bias and channels-last
// too; phases after an upsampling. The same bytes every time on one kind of device. Enqueues on the
// current stream; throws c10::Error.
at::Tensor ConvolveOnDevice(const at::Tensor& in, const DeviceConvolution& layer,
                            Precision precision);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_CONVOLUTION_H_
