// The generator's weights on a GPU: kernels folded with the upsampling before them
// (docs/inference.md), channels-last, in the element type that the convolutions take.
//
// Constant after Upload; owns device memory.
#ifndef SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_WEIGHTS_H_
#define SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/inference/plan.h"

namespace synthvol::model {

struct DeviceConvolution {
  ConvolutionPlan plan;
  // kSame: [out, in, 3, 3, 3]; kUp: [8 out, in, 2, 2, 2], phases first.
  at::Tensor kernel;
  at::Tensor kernel_bf16;
  at::Tensor bias;   // [out] float, as the rest
  at::Tensor gamma;  // undefined for the last layer
  at::Tensor beta;
};

struct DeviceWeights {
  GeneratorPlan plan;
  at::Tensor first;       // [64 first_channels, latent_inputs] float
  at::Tensor first_bias;  // [64 first_channels] float
  std::vector<DeviceConvolution> convolutions;
  DeviceConvolution last;

  int64_t Bytes() const;
};

// Uploads a checked checkpoint to the current device. Throws c10::Error, as ATen does.
DeviceWeights Upload(const Checkpoint& checkpoint, int device_index);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_WEIGHTS_H_
