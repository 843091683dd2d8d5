#include "model/inference/cuda/device_weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Device.h>
#include <c10/cuda/CUDAStream.h>

#include <string>

#include "absl/types/span.h"
#include "model/inference/cuda/fold_kernel.h"

namespace synthvol::model {
namespace {

// Reads tensors of a checked checkpoint onto the device.
class Uploader {
 public:
  Uploader(const Checkpoint& checkpoint, int device_index)
      : checkpoint_(checkpoint), device_(c10::kCUDA, static_cast<c10::DeviceIndex>(device_index)) {}

  absl::Span<const float> Read(const std::string& name, const std::vector<int64_t>& shape) const {
    auto values = checkpoint_.weights.Floats(name, shape);
    TORCH_CHECK(values.ok(), std::string(values.status().message()));
    return *values;
  }

  at::Tensor Upload(const float* values, const std::vector<int64_t>& shape) const {
    // from_blob wants a mutable pointer; the copy only reads.
    return at::from_blob(const_cast<float*>(values), shape, at::kFloat).to(device_);
  }

  at::Tensor Vector(const std::string& name, int64_t count) const {
    return Upload(Read(name, {count}).data(), {count});
  }

  DeviceConvolution Convolution(const ConvolutionPlan& plan) const {
    DeviceConvolution layer;
    layer.plan = plan;
    const std::string conv = "tp_conv" + plan.number;
    const auto taps = Read(conv + ".weight", {plan.out_channels, plan.in_channels, 3, 3, 3});
    if (plan.kind == ConvolutionKind::kUp) {
      const auto folded = FoldKernel(taps, plan.out_channels, plan.in_channels);
      layer.kernel = Upload(folded.data(), {8 * plan.out_channels, plan.in_channels, 2, 2, 2});
    } else {
      layer.kernel = Upload(taps.data(), {plan.out_channels, plan.in_channels, 3, 3, 3});
    }
    layer.kernel = layer.kernel.contiguous(at::MemoryFormat::ChannelsLast3d);
    layer.kernel_bf16 = layer.kernel.to(at::kBFloat16);
    layer.bias = Vector(conv + ".bias", plan.out_channels);
    layer.gamma = Vector("bn" + plan.number + ".weight", plan.out_channels);
    layer.beta = Vector("bn" + plan.number + ".bias", plan.out_channels);
    return layer;
  }

  // The last layer's folded kernel, [8 phases, channels, 8 positions] turned round.
  at::Tensor Last(int64_t channels) const {
    const auto folded = FoldKernel(Read("tp_conv7.weight", {1, channels, 3, 3, 3}), 1, channels);
    return Upload(folded.data(), {8, channels, 8}).permute({2, 1, 0}).contiguous();
  }

 private:
  const Checkpoint& checkpoint_;
  const c10::Device device_;
};

int64_t BytesOf(const DeviceConvolution& layer) {
  int64_t bytes = 0;
  for (const at::Tensor* tensor :
       {&layer.kernel, &layer.kernel_bf16, &layer.bias, &layer.gamma, &layer.beta}) {
    if (tensor->defined()) bytes += static_cast<int64_t>(tensor->nbytes());
  }
  return bytes;
}

}  // namespace

int64_t DeviceWeights::Bytes() const {
  auto bytes = static_cast<int64_t>(first.nbytes() + first_bias.nbytes() + last.nbytes() +
                                    last_bias.nbytes());
  for (const DeviceConvolution& layer : convolutions) bytes += BytesOf(layer);
  return bytes;
}

DeviceWeights Upload(const Checkpoint& checkpoint, int device_index) {
  const Uploader uploader(checkpoint, device_index);
  DeviceWeights weights;
  weights.plan = MakePlan(checkpoint.config);
  const int64_t rows = weights.plan.first_channels * 64;
  const std::vector<int64_t> first_shape{rows, weights.plan.latent_inputs};
  weights.first = uploader.Upload(uploader.Read("fc1.weight", first_shape).data(), first_shape);
  weights.first_bias = uploader.Vector("fc1.bias", rows);
  for (const ConvolutionPlan& plan : weights.plan.convolutions) {
    weights.convolutions.push_back(uploader.Convolution(plan));
  }
  weights.last = uploader.Last(weights.plan.last_in_channels);
  weights.last_bias = uploader.Vector("tp_conv7.bias", 1);
  // The contexts' streams do not wait for this one.
  c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_index)).synchronize();
  return weights;
}

}  // namespace synthvol::model
