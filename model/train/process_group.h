// The processes of a data-parallel training, as torchrun starts them: sums and broadcasts of
// tensors over all of them, by c10d's Gloo on the CPU and NCCL on GPUs. The processes meet at
// c10d's TCPStore.
//
// Not thread-safe. Calls are collective: every process makes the same ones in the same order.
#ifndef SYNTHVOL_MODEL_TRAIN_PROCESS_GROUP_H_
#define SYNTHVOL_MODEL_TRAIN_PROCESS_GROUP_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace synthvol::model {

// This process among all, from torchrun's environment variables.
struct ProcessPlace {
  int64_t rank = 0;        // RANK
  int64_t world_size = 1;  // WORLD_SIZE
  // Which of the machine's processes this is (LOCAL_RANK); picks its GPU.
  int64_t local_rank = 0;
  std::string master_address;  // MASTER_ADDR
  int64_t master_port = 0;     // MASTER_PORT
  // The launcher keeps the store (TORCHELASTIC_USE_AGENT_STORE); otherwise rank 0 does.
  bool launcher_keeps_store = false;
  // How often the launcher has started the run again (TORCHELASTIC_RESTART_COUNT).
  std::string attempt = "0";

  bool Alone() const { return world_size == 1; }
  // "rank R of N".
  std::string Name() const;
};

// Reads the environment: one process by itself when WORLD_SIZE is not set. INVALID_ARGUMENT names
// the variable that is missing or makes no sense.
absl::StatusOr<ProcessPlace> ReadProcessPlace();

class ProcessGroup {
 public:
  // A sum that is under way.
  class Pending {
   public:
    virtual ~Pending() = default;
    // Waits until the tensor holds the sum. UNAVAILABLE when a process is gone.
    virtual absl::Status Wait() = 0;
  };

  // Meets the other processes; blocks until all are there, five minutes at most. DEADLINE_EXCEEDED
  // or UNAVAILABLE name the address.
  static absl::StatusOr<std::unique_ptr<ProcessGroup>> Join(const ProcessPlace& place,
                                                            const c10::Device& device);
  virtual ~ProcessGroup() = default;

  // Starts to replace a contiguous float tensor on the group's device by its sum over all
  // processes. The tensor must live, untouched, until the sum is there.
  virtual absl::StatusOr<std::unique_ptr<Pending>> StartSum(const at::Tensor& tensor) = 0;
  // Replaces a contiguous float tensor on the group's device by rank 0's.
  virtual absl::Status Broadcast(const at::Tensor& tensor) = 0;

  // Sums a small float tensor that lies on the CPU.
  absl::Status Sum(at::Tensor& tensor);

  const ProcessPlace& place() const { return place_; }
  const c10::Device& device() const { return device_; }

 protected:
  ProcessGroup(ProcessPlace place, const c10::Device& device)
      : place_(std::move(place)), device_(device) {}

 private:
  const ProcessPlace place_;
  const c10::Device device_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_PROCESS_GROUP_H_
