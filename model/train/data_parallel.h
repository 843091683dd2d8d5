// What a training run shares with the other processes of torchrun: its start, its gradients, its
// losses and its end. For a process by itself every call does nothing.
//
// Not thread-safe. Calls are collective. Owns the group; borrows networks and step.
#ifndef SYNTHVOL_MODEL_TRAIN_DATA_PARALLEL_H_
#define SYNTHVOL_MODEL_TRAIN_DATA_PARALLEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "model/train/gradient_averager.h"
#include "model/train/process_group.h"
#include "model/train/train_step.h"

namespace synthvol::model {

class DataParallel {
 public:
  explicit DataParallel(ProcessPlace place) : place_(std::move(place)) {}

  // Meets the other processes.
  absl::Status Join(const c10::Device& device);
  // Succeeds where all processes have. Otherwise returns `mine`, or ABORTED where only others
  // failed.
  absl::Status Agree(absl::Status mine);
  // Takes rank 0's networks, moments, step counts and number of iterations done, and from now on
  // averages gradients. FAILED_PRECONDITION when rank 0 trains on another data set.
  absl::Status ShareStart(Networks& networks, TrainStep& step, const std::string& data_digest,
                          int64_t& done);
  // Averages losses; `stop` becomes true in all processes when it is in one. UNAVAILABLE when a
  // process is gone; this iteration's gradients must then not be kept.
  absl::Status ShareIteration(std::vector<LossValue>& losses, bool& stop);

  int64_t rank() const { return place_.rank; }
  int64_t world_size() const { return place_.world_size; }
  // Rank 0 writes: checkpoints, metrics, previews.
  bool Leads() const { return place_.rank == 0; }
  // Names the process in front of an error when there are others.
  absl::Status Named(const absl::Status& status) const;

 private:
  absl::Status ShareTensor(const at::Tensor& tensor);
  // Broadcasts rank 0's numbers.
  absl::Status ShareNumbers(std::vector<double>& numbers);

  const ProcessPlace place_;
  std::unique_ptr<ProcessGroup> group_;
  std::unique_ptr<GradientAverager> averager_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_DATA_PARALLEL_H_
