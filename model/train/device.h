// The device that --device names, and what training needs to run there. Thread-safe.
#ifndef SYNTHVOL_MODEL_TRAIN_DEVICE_H_
#define SYNTHVOL_MODEL_TRAIN_DEVICE_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/train/cuda/device_library.h"

namespace synthvol::model {

// Parses "auto", "cpu", "cuda" or "cuda:I". Loads libtorch_cuda only when a GPU is asked for or may
// be there, and with it our own kernels; without an index takes GPU `local_rank`. INVALID_ARGUMENT
// for other text; FAILED_PRECONDITION for a GPU that is not there.
absl::StatusOr<c10::Device> FindDevice(const std::string& text, int64_t local_rank = 0);

// Makes a recorder for a GPU that FindDevice found; null for the CPU.
std::unique_ptr<Recorder> MakeRecorder(const c10::Device& device);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_DEVICE_H_
