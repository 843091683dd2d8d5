// FusedKernels for GPU tensors, float and bfloat16, over the kernels of
// model/kernels/cuda/norm_relu.h.
#ifndef SYNTHVOL_MODEL_TRAIN_CUDA_DEVICE_FUSED_KERNELS_H_
#define SYNTHVOL_MODEL_TRAIN_CUDA_DEVICE_FUSED_KERNELS_H_

#include "model/nets/fused_kernels.h"

namespace synthvol::model {

// Returns functions that enqueue on the current stream and throw c10::Error. Live as long as the
// process; thread-safe.
const FusedKernels& DeviceFusedKernels();

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_CUDA_DEVICE_FUSED_KERNELS_H_
