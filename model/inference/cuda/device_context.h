// What one synthesis on a GPU holds: its streams, its device and pinned memory, and the CUDA graphs
// of the network recorded so far.
//
// Used by one thread at a time; contexts of one device run beside each other.
#ifndef SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_CONTEXT_H_
#define SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_CONTEXT_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "model/inference/cuda/device_weights.h"
#include "model/inference/cuda/own_stream.h"
#include "model/kernels/cuda/last_layer.h"
#include "model/synthesizer.h"

namespace synthvol::model {

// Slices of a slab: as many as a copy needs to run at full speed, few enough to leave early.
inline constexpr int64_t kDeviceSlabSlices = 16;
// Slabs in pinned memory at a time: the copies go on while a callback works.
inline constexpr int64_t kDevicePinnedSlabs = 4;

// Gives what ATen's allocator keeps and nobody uses back to the devices. Waits for a recording to
// end, during which the allocator refuses. Throws c10::Error.
void ReturnCachedMemory();

class DeviceContext {
 public:
  // Takes the streams and the memory that does not depend on the precision. Throws c10::Error.
  DeviceContext(const DeviceWeights& weights, int device_index);
  // Waits for what is left on the streams (after an error), so that no copy writes to memory that
  // has a new owner.
  ~DeviceContext();
  DeviceContext(const DeviceContext&) = delete;
  DeviceContext& operator=(const DeviceContext&) = delete;

  // Renders one volume, as Synthesizer::Synthesize. Throws c10::Error for device errors; then the
  // context must not be used again.
  absl::Status Render(const ModelConfig& config, const SynthesisInput& input, OutputKind kind,
                      const SlabCallback& callback);

 private:
  // The network up to the last layer's input, as recorded.
  struct Recording {
    std::unique_ptr<at::cuda::CUDAGraph> graph;  // null: run layer by layer
    at::Tensor output;
  };

  // Enqueues the network; returns the last layer's input [1,C,n,n,n], channels-last.
  at::Tensor Forward(Precision precision);
  // Runs the network by its graph, which the first call with this precision records.
  const at::Tensor& RunNetwork(Precision precision);
  void Record(Precision precision, Recording& recording);
  void CopyLatent(const ModelConfig& config, const SynthesisInput& input);
  // Enqueues the last layer, `finished_` after each slab.
  void RenderSlabs(const ModelConfig& config, const LastLayerInput& last, OutputKind kind,
                   int64_t first_slab);
  // Copies and hands out slab after slab, some copies ahead of the callback.
  absl::Status DeliverSlabs(const ModelConfig& config, const SynthesisInput& input, OutputKind kind,
                            const SlabCallback& callback);
  // Waits for an event, busily at first; then asks input.interrupted meanwhile.
  absl::Status Wait(cudaEvent_t event, const SynthesisInput& input);

  const DeviceWeights& weights_;
  const c10::Device device_;
  // Before the memory below, which goes back before they do.
  const OwnStream compute_;
  const OwnStream copy_;

  at::Tensor latent_;       // [latent_inputs], device
  at::Tensor latent_host_;  // the same, pinned
  at::Tensor scratch_;      // of the statistics, double
  at::Tensor sums_;         // [2, widest layer], double
  at::Tensor status_;       // [1] int32: a statistic was not finite
  at::Tensor status_host_;  // the same, pinned
  at::Tensor volume_;       // [size^3] float, or as int16
  // Pinned.
  std::array<at::Tensor, kDevicePinnedSlabs> slabs_host_;
  std::array<cudaEvent_t, kDevicePinnedSlabs> copied_{};
  std::vector<cudaEvent_t> finished_;  // one a slab
  std::map<Precision, Recording> recordings_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_CONTEXT_H_
