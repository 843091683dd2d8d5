// The door to libsynthvol_train_cuda.so, training's part for GPUs, so that a trainer without a GPU
// needs none of CUDA's libraries.
#ifndef SYNTHVOL_MODEL_TRAIN_CUDA_DEVICE_LIBRARY_H_
#define SYNTHVOL_MODEL_TRAIN_CUDA_DEVICE_LIBRARY_H_

#include <c10/core/Device.h>

#include <functional>
#include <memory>

#include "model/nets/fused_kernels.h"

namespace synthvol::model {

inline constexpr const char* kTrainingCudaLibrary = "libsynthvol_train_cuda.so";
inline constexpr const char* kTrainingCudaEntryPoint = "synthvol_train_cuda_entry_points";

// Work on a GPU, recorded once as a CUDA graph and replayed: one launch instead of thousands.
//
// Used by one thread. Owns the graph and the memory of every tensor that the work made.
class Recorder {
 public:
  virtual ~Recorder() = default;
  // Records what `work` enqueues on the current stream; nothing of it runs yet. The work must have
  // run before, so that libraries are loaded, and must not wait for the device. Throws c10::Error.
  virtual void Record(const std::function<void()>& work) = 0;
  // Enqueues the recorded work. Throws c10::Error.
  virtual void Replay() = 0;
};

struct TrainingCudaEntryPoints {
  // synthvol::Build() of the library; another one's layout may differ.
  const char* build;
  const FusedKernels* kernels;
  std::unique_ptr<Recorder> (*make_recorder)(const c10::Device& device);
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_CUDA_DEVICE_LIBRARY_H_
