// The device that --device names. Pure function.
#ifndef SYNTHVOL_MODEL_TRAIN_DEVICE_H_
#define SYNTHVOL_MODEL_TRAIN_DEVICE_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace synthvol::model {

// Parses "auto", "cpu", "cuda" or "cuda:I". Loads libtorch_cuda only when a GPU is asked for or may
// be there; without an index takes GPU `local_rank`. INVALID_ARGUMENT for other text;
// FAILED_PRECONDITION for a GPU that is not there.
absl::StatusOr<c10::Device> FindDevice(const std::string& text, int64_t local_rank = 0);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_DEVICE_H_
