// NCCL's side of ProcessGroup. Calls libnccl.so.2 through functions looked up at run time, beside
// LibTorch's CUDA libraries, so that a machine without a GPU needs none of it.
#ifndef SYNTHVOL_MODEL_TRAIN_NCCL_GROUP_H_
#define SYNTHVOL_MODEL_TRAIN_NCCL_GROUP_H_

#include <memory>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "absl/status/statusor.h"
#include "model/train/process_group.h"

namespace synthvol::model {

// Makes the group of the processes that meet at `store`, each with its own GPU. FAILED_PRECONDITION
// when libnccl.so.2 cannot be opened or the build has no NCCL. May throw what the store throws.
absl::StatusOr<std::unique_ptr<ProcessGroup>> JoinNccl(
    const ProcessPlace& place, const c10::Device& device,
    const c10::intrusive_ptr<c10d::Store>& store);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_NCCL_GROUP_H_
