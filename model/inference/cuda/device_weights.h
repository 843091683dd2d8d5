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
  at::Tensor bias;  // [out] float, as the rest
  at::Tensor gamma;
  at::Tensor beta;
};

struct DeviceWeights {
  GeneratorPlan plan;
  at::Tensor first;       // [64 first_channels, latent_inputs] float
  at::Tensor first_bias;  // [64 first_channels] float
  std::vector<DeviceConvolution> convolutions;
  // The last layer: [8 positions, channels, 8 phases] float (last_layer.h), and [1].
  at::Tensor last;
  at::Tensor last_bias;

  int64_t Bytes() const;
};

// Uploads a checked checkpoint to the current device. Throws c10::Error, as ATen does.
DeviceWeights Upload(const Checkpoint& checkpoint, int device_index);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_WEIGHTS_H_
