// A Deliver call at work: a worker renders a volume into DICOM instances, then a delivery thread
// sends them while the worker serves others; one volume is held at a time.
#ifndef SYNTHVOL_SERVER_RPC_DELIVERY_TASK_H_
#define SYNTHVOL_SERVER_RPC_DELIVERY_TASK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "imaging/dicom/destination.h"
#include "server/rpc/call.h"
#include "server/rpc/destinations.h"
#include "server/rpc/executor.h"
#include "server/rpc/service_context.h"
#include "server/scheduling/task.h"

namespace synthvol::server {

class DeliveryTask final : public Task, public std::enable_shared_from_this<DeliveryTask> {
 public:
  // `destination` is a configured name. `senders` runs what waits for the network.
  DeliveryTask(const ServiceContext* context, const Destinations* destinations, Executor* senders,
               TaskId id, Call call, SynthesisPlan plan, std::string destination,
               std::shared_ptr<ServableModel> model, std::shared_ptr<StreamWriter> writer);

  // Returns what the scheduler is to know.
  TaskSpec Spec(absl::Time deadline) const;

  TurnResult Run(Turn& turn) override;
  void OnEnd(const absl::Status& status) override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // One rendered volume on its way.
  struct Series {
    std::string study_uid;
    std::string series_uid;
    std::vector<imaging::dicom::OutgoingInstance> instances;
  };

  absl::Status Render(Turn& turn, Series& series, bool& device_fault);
  // Sends the volume that Run left and lets the scheduler go on; runs on a sender.
  void Send() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<imaging::dicom::DeliveryProgress> Store(Series& series)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Report(const Series& series, const imaging::dicom::DeliveryProgress& progress, bool ended,
              bool done);
  // Returns what the caller hears of a destination's failure; the log has the rest.
  absl::Status PublicStatus(const absl::Status& status) const;

  const ServiceContext* const context_;
  const Destinations* const destinations_;
  Executor* const senders_;
  const TaskId id_;
  const Call call_;
  const SynthesisPlan plan_;
  const std::string destination_;
  const std::shared_ptr<ServableModel> model_;
  const std::shared_ptr<StreamWriter> writer_;

  // Touched by Run and Send, which follow each other through the scheduler.
  uint32_t next_volume_;
  uint32_t retries_before_ = 0;

  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  // Rendered and waiting for a sender.
  Series waiting_ ABSL_GUARDED_BY(mutex_);
  imaging::dicom::Delivery* delivery_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_DELIVERY_TASK_H_
