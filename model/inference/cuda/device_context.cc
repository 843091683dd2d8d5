#include "model/inference/cuda/device_context.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/inference/cuda/device_convolution.h"
#include "model/inference/input_check.h"
#include "model/kernels/cuda/linear.h"
#include "model/kernels/cuda/norm_relu.h"

namespace synthvol::model {
namespace {

// One recording at a time, and nothing else that needs the allocator whole: during a recording it
// neither empties its cache nor reuses it for others that run out of memory.
std::mutex& RecordingMutex() {
  static auto* const mutex = new std::mutex;
  return *mutex;
}

// A whole volume takes milliseconds: a caller waits busily so long, then asks now and then whether
// to go on.
constexpr absl::Duration kBusyWait = absl::Microseconds(300);
constexpr absl::Duration kPoll = absl::Microseconds(50);
// Slabs of the last layer in one launch, after the first: enough blocks to fill a GPU.
constexpr int64_t kSlabsALaunch = 4;

at::Tensor Pinned(int64_t count, at::ScalarType type) {
  return at::empty({count}, at::TensorOptions().dtype(type).pinned_memory(true));
}

// A layer's convolution output as the norm's kernels see it.
NormReluMap Describe(const DeviceConvolution& layer, const void* data, Element element) {
  const auto size = static_cast<int>(layer.plan.out_size());
  return {data,
          element,
          layer.plan.kind == ConvolutionKind::kUp,
          /*samples=*/1,
          static_cast<int>(layer.plan.out_channels),
          size,
          size,
          size,
          layer.bias.const_data_ptr<float>(),
          layer.gamma.const_data_ptr<float>(),
          layer.beta.const_data_ptr<float>()};
}

cudaEvent_t MakeEvent() {
  cudaEvent_t event = nullptr;
  C10_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

}  // namespace

void ReturnCachedMemory() {
  const std::lock_guard<std::mutex> lock(RecordingMutex());
  c10::cuda::CUDACachingAllocator::emptyCache();
}

DeviceContext::DeviceContext(const DeviceWeights& weights, int device_index)
    : weights_(weights),
      device_(c10::kCUDA, static_cast<c10::DeviceIndex>(device_index)),
      compute_(device_.index()),
      copy_(device_.index()) {
  const c10::cuda::CUDAStreamGuard guard(compute_.get());
  const auto on_device = [&](int64_t count, at::ScalarType type) {
    return at::empty({count}, at::TensorOptions().dtype(type).device(device_));
  };
  const GeneratorPlan& plan = weights.plan;
  int64_t widest = 0;
  int64_t scratch = 0;
  for (const DeviceConvolution& layer : weights.convolutions) {
    widest = std::max(widest, layer.plan.out_channels);
    scratch = std::max(scratch, NormReluScratch(Describe(layer, nullptr, Element::kFloat)));
  }
  latent_ = on_device(plan.latent_inputs, at::kFloat);
  latent_host_ = Pinned(plan.latent_inputs, at::kFloat);
  scratch_ = on_device(scratch, at::kDouble);
  sums_ = on_device(2 * widest, at::kDouble);
  status_ = on_device(1, at::kInt);
  status_host_ = Pinned(1, at::kInt);
  volume_ = on_device(plan.size * plan.size * plan.size, at::kFloat);
  for (at::Tensor& slab : slabs_host_) {
    slab = Pinned(kDeviceSlabSlices * plan.size * plan.size, at::kFloat);
  }
  for (cudaEvent_t& event : copied_) event = MakeEvent();
  for (int64_t i = 0; i < plan.size / kDeviceSlabSlices; ++i) finished_.push_back(MakeEvent());
}

DeviceContext::~DeviceContext() {
  C10_CUDA_IGNORE_ERROR(cudaStreamSynchronize(compute_.raw()));
  C10_CUDA_IGNORE_ERROR(cudaStreamSynchronize(copy_.raw()));
  for (cudaEvent_t event : copied_) {
    if (event != nullptr) C10_CUDA_IGNORE_ERROR(cudaEventDestroy(event));
  }
  for (cudaEvent_t event : finished_) C10_CUDA_IGNORE_ERROR(cudaEventDestroy(event));
}

at::Tensor DeviceContext::Forward(Precision precision) {
  const cudaStream_t stream = compute_.raw();
  const bool is_bf16 = precision == Precision::kBf16;
  const Element element = is_bf16 ? Element::kBf16 : Element::kFloat;
  const auto map = [&](int64_t channels, int64_t size) {
    return at::empty({1, channels, size, size, size},
                     at::TensorOptions()
                         .dtype(is_bf16 ? at::kBFloat16 : at::kFloat)
                         .device(device_)
                         .memory_format(at::MemoryFormat::ChannelsLast3d));
  };
  C10_CUDA_CHECK(cudaMemsetAsync(status_.data_ptr(), 0, sizeof(int), stream));
  at::Tensor x = map(weights_.plan.first_channels, 4);
  C10_CUDA_CHECK(LaunchLinear(weights_.first.const_data_ptr<float>(),
                              weights_.first_bias.const_data_ptr<float>(),
                              latent_.const_data_ptr<float>(), weights_.plan.latent_inputs,
                              weights_.plan.first_channels, element, x.data_ptr(), stream));
  for (const DeviceConvolution& layer : weights_.convolutions) {
    const at::Tensor raw = ConvolveOnDevice(x, layer, precision);
    const NormReluMap out = Describe(layer, raw.const_data_ptr(), element);
    C10_CUDA_CHECK(LaunchNormReluSums(out, scratch_.data_ptr<double>(), sums_.data_ptr<double>(),
                                      status_.data_ptr<int>(), stream));
    // The input's memory serves the output.
    x = at::Tensor();
    x = map(layer.plan.out_channels, layer.plan.out_size());
    C10_CUDA_CHECK(LaunchNormRelu(out, sums_.const_data_ptr<double>(), x.data_ptr(), stream));
  }
  return x;
}

void DeviceContext::Record(Precision precision, Recording& recording) {
  const std::lock_guard<std::mutex> lock(RecordingMutex());
  // A run beforehand makes cuDNN choose and load its kernels, which a recording may not.
  recording.output = Forward(precision);
  C10_CUDA_CHECK(cudaStreamSynchronize(compute_.raw()));
  recording.output = at::Tensor();
  // The recording has memory of its own: that of the run is not kept beside it.
  c10::cuda::CUDACachingAllocator::emptyCache();
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  try {
    recording.output = Forward(precision);
  } catch (...) {
    // The stream leaves recording whatever went wrong; the first error is the one that counts.
    try {
      graph->capture_end();
    } catch (...) {  // NOLINT(bugprone-empty-catch)
    }
    recording.output = at::Tensor();
    throw;
  }
  graph->capture_end();
  recording.graph = std::move(graph);
}

const at::Tensor& DeviceContext::RunNetwork(Precision precision) {
  Recording& recording = recordings_[precision];
  if (recording.graph == nullptr) Record(precision, recording);
  recording.graph->replay();
  return recording.output;
}

void DeviceContext::CopyLatent(const ModelConfig& config, const SynthesisInput& input) {
  auto* host = latent_host_.data_ptr<float>();
  std::fill_n(host, weights_.plan.latent_inputs, 0.0F);
  std::copy(input.latent.begin(), input.latent.end(), host);
  if (input.class_label >= 0) host[config.latent_dim + input.class_label] = 1.0F;
  C10_CUDA_CHECK(cudaMemcpyAsync(latent_.data_ptr(), host, latent_.nbytes(), cudaMemcpyHostToDevice,
                                 compute_.raw()));
}

absl::Status DeviceContext::Wait(cudaEvent_t event, const SynthesisInput& input) {
  const absl::Time busy_end = absl::Now() + kBusyWait;
  while (true) {
    const cudaError_t state = cudaEventQuery(event);
    if (state == cudaSuccess) return absl::OkStatus();
    if (state != cudaErrorNotReady) C10_CUDA_CHECK(state);
    if (absl::Now() < busy_end) continue;
    if (input.interrupted) {
      if (auto status = input.interrupted(); !status.ok()) return status;
    }
    absl::SleepFor(kPoll);
  }
}

void DeviceContext::RenderSlabs(const ModelConfig& config, const LastLayerInput& last,
                                OutputKind kind, int64_t first_slab) {
  const StoredScale scale = ScaleOf(config.window);
  const bool is_unit = kind == OutputKind::kUnit;
  const LastLayerOutput out{is_unit ? static_cast<float*>(volume_.data_ptr()) : nullptr,
                            is_unit ? nullptr : static_cast<int16_t*>(volume_.data_ptr()),
                            scale.half_range, scale.centre};
  const int64_t slabs = config.size / kDeviceSlabSlices;
  // Plane p makes slices 2p-1 and 2p: a slab's last plane begins the next slab.
  constexpr int64_t kPlanes = kDeviceSlabSlices / 2;
  int64_t plane = first_slab * kPlanes;
  for (int64_t slab = first_slab; slab < slabs;) {
    const int64_t count = slab == first_slab ? 1 : std::min(kSlabsALaunch, slabs - slab);
    const int64_t end = (slab + count) * kPlanes + 1;
    C10_CUDA_CHECK(LaunchLastLayer(last, static_cast<int>(plane), static_cast<int>(end - plane),
                                   out, compute_.raw()));
    plane = end;
    for (const int64_t stop = slab + count; slab < stop; ++slab) {
      C10_CUDA_CHECK(cudaEventRecord(finished_[static_cast<size_t>(slab)], compute_.raw()));
    }
  }
}

absl::Status DeviceContext::DeliverSlabs(const ModelConfig& config, const SynthesisInput& input,
                                         OutputKind kind, const SlabCallback& callback) {
  const int64_t slice = config.size * config.size;
  const auto bytes =
      static_cast<int64_t>(kind == OutputKind::kUnit ? sizeof(float) : sizeof(int16_t));
  const int64_t slab_bytes = kDeviceSlabSlices * slice * bytes;
  const auto* volume = static_cast<const char*>(volume_.const_data_ptr());
  const int64_t begin = input.start_slice / kDeviceSlabSlices;
  const int64_t end = config.size / kDeviceSlabSlices;
  const auto start_copy = [&](int64_t i) {
    if (i >= end) return;
    const auto slot = static_cast<size_t>(i % kDevicePinnedSlabs);
    C10_CUDA_CHECK(cudaStreamWaitEvent(copy_.raw(), finished_[static_cast<size_t>(i)], 0));
    C10_CUDA_CHECK(cudaMemcpyAsync(slabs_host_[slot].data_ptr(), volume + i * slab_bytes,
                                   static_cast<size_t>(slab_bytes), cudaMemcpyDeviceToHost,
                                   copy_.raw()));
    C10_CUDA_CHECK(cudaEventRecord(copied_[slot], copy_.raw()));
  };
  for (int64_t i = 0; i < kDevicePinnedSlabs; ++i) start_copy(begin + i);
  for (int64_t i = begin; i < end; ++i) {
    const auto slot = static_cast<size_t>(i % kDevicePinnedSlabs);
    if (auto status = Wait(copied_[slot], input); !status.ok()) return status;
    // Written by the network, hence before the first slab.
    if (*status_host_.const_data_ptr<int>() != 0) {
      return absl::InternalError("an activation is not finite: the model's weights are too large");
    }
    Slab slab;
    slab.first_slice = std::max(i * kDeviceSlabSlices, input.start_slice);
    slab.slice_count = (i + 1) * kDeviceSlabSlices - slab.first_slice;
    const int64_t skip = (slab.first_slice - i * kDeviceSlabSlices) * slice;
    const auto count = static_cast<size_t>(slab.slice_count * slice);
    const void* host = slabs_host_[slot].const_data_ptr();
    if (kind == OutputKind::kUnit) {
      slab.unit = {static_cast<const float*>(host) + skip, count};
    } else {
      slab.stored = {static_cast<const int16_t*>(host) + skip, count};
    }
    if (auto status = callback(slab); !status.ok()) return status;
    start_copy(i + kDevicePinnedSlabs);
  }
  return absl::OkStatus();
}

absl::Status DeviceContext::Render(const ModelConfig& config, const SynthesisInput& input,
                                   OutputKind kind, const SlabCallback& callback) {
  const c10::cuda::CUDAStreamGuard guard(compute_.get());
  if (input.interrupted) {
    if (auto status = input.interrupted(); !status.ok()) return status;
  }
  CopyLatent(config, input);
  const at::Tensor& map = RunNetwork(input.precision);
  C10_CUDA_CHECK(cudaMemcpyAsync(status_host_.data_ptr(), status_.data_ptr(), sizeof(int),
                                 cudaMemcpyDeviceToHost, compute_.raw()));
  const LastLayerInput last{map.const_data_ptr(),
                            input.precision == Precision::kBf16 ? Element::kBf16 : Element::kFloat,
                            weights_.last.const_data_ptr<float>(),
                            weights_.last_bias.const_data_ptr<float>(),
                            static_cast<int>(config.size / 2),
                            static_cast<int>(weights_.plan.last_in_channels)};
  RenderSlabs(config, last, kind, input.start_slice / kDeviceSlabSlices);
  absl::Status status = DeliverSlabs(config, input, kind, callback);
  // Nothing of this request may be left when the next one takes the context.
  C10_CUDA_CHECK(cudaStreamSynchronize(compute_.raw()));
  C10_CUDA_CHECK(cudaStreamSynchronize(copy_.raw()));
  return status;
}

}  // namespace synthvol::model
