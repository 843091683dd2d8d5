// The door to libsynthvol_cuda.so: opened at run time, when a GPU is first asked for, so that a CPU
// installation needs none of CUDA or LibTorch. Thread-safe.
#ifndef SYNTHVOL_MODEL_INFERENCE_CUDA_LIBRARY_H_
#define SYNTHVOL_MODEL_INFERENCE_CUDA_LIBRARY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/synthesizer.h"

namespace synthvol::model {

// Returns the number of GPUs. FAILED_PRECONDITION says why the library cannot be opened.
absl::StatusOr<int> CudaDeviceCount();

// Loads a checked checkpoint onto a GPU.
absl::StatusOr<std::unique_ptr<Synthesizer>> LoadOnCuda(const Checkpoint& checkpoint,
                                                        const SynthesizerOptions& options);

// What the library exports under the name kCudaEntryPoint.
struct CudaEntryPoints {
  // Equal on both sides, or the library is of another build.
  const char* build;
  absl::StatusOr<int> (*device_count)();
  absl::StatusOr<std::unique_ptr<Synthesizer>> (*load)(const Checkpoint& checkpoint,
                                                       const SynthesizerOptions& options);
};
inline constexpr const char* kCudaLibrary = "libsynthvol_cuda.so";
inline constexpr const char* kCudaEntryPoint = "synthvol_cuda_entry_points";

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_LIBRARY_H_
