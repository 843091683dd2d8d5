// The entry points of libsynthvol_train_cuda.so.
#include "model/train/cuda/device_library.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "base/version.h"
#include "model/train/cuda/device_fused_kernels.h"

// Of ATen/cuda/CUDAContextLight.h, which wants the headers of every CUDA library.
namespace at::cuda {
TORCH_CUDA_CPP_API void clearCublasWorkspaces();
}  // namespace at::cuda

namespace synthvol::model {
namespace {

class GraphRecorder : public Recorder {
 public:
  explicit GraphRecorder(const c10::Device& device) : device_(device) {}

  void Record(const std::function<void()>& work) override {
    const c10::cuda::CUDAGuard guard(device_);
    C10_CUDA_CHECK(cudaDeviceSynchronize());
    // The recording has memory of its own: that of the runs before is not kept beside it, cuBLAS's
    // (one workspace a stream) included.
    at::cuda::clearCublasWorkspaces();
    c10::cuda::CUDACachingAllocator::emptyCache();
    {
      const c10::cuda::CUDAStreamGuard stream(
          c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device_.index()));
      // Other threads (the one that prepares the next input) may go on.
      graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      try {
        work();
      } catch (...) {
        // The stream leaves recording whatever went wrong; the first error is the one that counts.
        try {
          graph_.capture_end();
        } catch (...) {  // NOLINT(bugprone-empty-catch)
        }
        throw;
      }
      graph_.capture_end();
    }
    C10_CUDA_CHECK(cudaDeviceSynchronize());
  }

  void Replay() override {
    const c10::cuda::CUDAGuard guard(device_);
    graph_.replay();
  }

 private:
  const c10::Device device_;
  at::cuda::CUDAGraph graph_;
};

std::unique_ptr<Recorder> MakeRecorder(const c10::Device& device) {
  return std::make_unique<GraphRecorder>(device);
}

}  // namespace
}  // namespace synthvol::model

extern "C" __attribute__((visibility("default"))) const synthvol::model::TrainingCudaEntryPoints*
synthvol_train_cuda_entry_points() {
  static const synthvol::model::TrainingCudaEntryPoints kEntryPoints{
      synthvol::Build(), &synthvol::model::DeviceFusedKernels(), synthvol::model::MakeRecorder};
  return &kEntryPoints;
}
