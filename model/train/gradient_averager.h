// Averages gradients over the processes of a run while the backward pass still computes others:
// parameters are packed into buckets in the order in which gradients become ready, and a bucket's
// sum starts as soon as its last gradient is there (Li et al. 2020, "PyTorch Distributed").
//
// Not thread-safe: hooks run on the thread of the backward pass, which Run of TrainStep waits for.
// Borrows networks and group; both outlive it.
#ifndef SYNTHVOL_MODEL_TRAIN_GRADIENT_AVERAGER_H_
#define SYNTHVOL_MODEL_TRAIN_GRADIENT_AVERAGER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/train/networks.h"
#include "model/train/process_group.h"
#include "model/train/train_step.h"

namespace synthvol::model {

class GradientAverager : public GradientObserver {
 public:
  GradientAverager(Networks& networks, ProcessGroup& group);
  ~GradientAverager() override;
  GradientAverager(const GradientAverager&) = delete;
  GradientAverager& operator=(const GradientAverager&) = delete;

  void LastPass(const std::string& letter) override;
  void Complete(const std::string& letter) override;

  // First failure. From then on gradients stay those of this process, so the run must end.
  const absl::Status& status() const { return status_; }

 private:
  struct Bucket {
    std::vector<at::Tensor> parameters;
    // Parameters whose gradient the last pass has not completed yet.
    int64_t missing = 0;
    // While its sum is under way: all gradients, flat [elements].
    at::Tensor flat;
    std::unique_ptr<ProcessGroup::Pending> sum;
  };
  class Hook;
  // A network's buckets in the order of their sums, and the hooks that fill them.
  struct Net {
    std::vector<Bucket> buckets;
    size_t started = 0;
    std::vector<std::shared_ptr<void>> accumulators;
  };

  void Ready(Net& net, size_t bucket);
  // Packs a bucket's gradients, makes them views of the pack, and starts its sum.
  void Start(Bucket& bucket);

  ProcessGroup& group_;
  std::map<std::string, Net> nets_;
  // Network whose last pass runs; hooks of others, and of earlier passes, do nothing.
  Net* active_ = nullptr;
  absl::Status status_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_GRADIENT_AVERAGER_H_
