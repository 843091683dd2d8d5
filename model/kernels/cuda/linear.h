// The generator's linear layer on a GPU. Raw device pointers; knows no torch.
#ifndef SYNTHVOL_MODEL_KERNELS_CUDA_LINEAR_H_
#define SYNTHVOL_MODEL_KERNELS_CUDA_LINEAR_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/kernels/cuda/element.h"

namespace synthvol::model {

// out[voxel][channel] of [64][channels] = rows[channel * 64 + voxel] . inputs + bias.
// rows [channels * 64][count] float. Asynchronous; returns the launch's error; sums in a fixed
// order.
cudaError_t LaunchLinear(const float* rows, const float* bias, const float* inputs, int64_t count,
                         int64_t channels, Element element, void* out, cudaStream_t stream);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_CUDA_LINEAR_H_
