#include "imaging/dicom/c_store_delivery.h"

#include <deque>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "imaging/dicom/dcmtk_runtime.h"
#include "imaging/dicom/delivery_tracker.h"
#include "imaging/dicom/storage_association.h"
#include "imaging/dicom/storage_commitment.h"

namespace synthvol::imaging::dicom {
namespace {

// A queue in front of workers, each with an association of its own. An instance stays with its
// worker until it is acknowledged, so a broken association loses nothing.
class CStoreDelivery final : public Delivery {
 public:
  CStoreDelivery(DestinationConfig config, ProgressCallback progress)
      : config_(std::move(config)), tracker_(std::move(progress)) {}
  ~CStoreDelivery() override {
    Cancel();
    Join();
  }

  absl::Status Store(OutgoingInstance instance) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<DeliveryProgress> Finish() override ABSL_LOCKS_EXCLUDED(mutex_);
  void Cancel() override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for an instance; false when none will come.
  bool Next(OutgoingInstance* instance) ABSL_LOCKS_EXCLUDED(mutex_);
  void Fail(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Commit() ABSL_LOCKS_EXCLUDED(mutex_);
  void Join() ABSL_LOCKS_EXCLUDED(mutex_);

  bool Stopped() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !failure_.ok() || tracker_.cancelled();
  }
  bool CanPush() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Stopped() || queue_.size() < static_cast<size_t>(config_.associations);
  }
  bool CanPop() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Stopped() || closed_ || !queue_.empty();
  }

  const DestinationConfig config_;
  DeliveryTracker tracker_;
  // Only touched by the thread that calls Store and Finish.
  std::vector<std::thread> workers_;

  absl::Mutex mutex_;
  std::deque<OutgoingInstance> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<InstanceIdentity> stored_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status CStoreDelivery::Store(OutgoingInstance instance) {
  {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &CStoreDelivery::CanPush));
    if (!failure_.ok()) return failure_;
    if (tracker_.cancelled()) return absl::CancelledError("delivery cancelled");
    queue_.push_back(std::move(instance));
  }
  // A small series opens no more associations than it has instances.
  if (workers_.size() < static_cast<size_t>(config_.associations)) {
    workers_.emplace_back([this] { Work(); });
  }
  return absl::OkStatus();
}

bool CStoreDelivery::Next(OutgoingInstance* instance) {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &CStoreDelivery::CanPop));
  if (Stopped() || queue_.empty()) return false;
  *instance = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void CStoreDelivery::Fail(const absl::Status& status) {
  const absl::MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = status;
}

void CStoreDelivery::Work() {
  BlockBrokenPipeSignal();
  std::unique_ptr<StorageAssociation> association;
  OutgoingInstance instance;
  while (Next(&instance)) {
    const absl::Status status = tracker_.WithRetries(config_.retry, [&]() -> absl::Status {
      if (association == nullptr) {
        absl::StatusOr<std::unique_ptr<StorageAssociation>> opened =
            StorageAssociation::Open(config_, instance.identity, tracker_);
        if (!opened.ok()) return opened.status();
        association = *std::move(opened);
      }
      absl::Status stored = association->Store(instance);
      // After a failure nobody knows what the peer thinks; the next attempt starts afresh.
      if (!stored.ok()) association.reset();
      return stored;
    });
    if (!status.ok()) {
      Fail(status);
      return;
    }
    {
      const absl::MutexLock lock(&mutex_);
      stored_.push_back(std::move(instance.identity));
    }
    tracker_.AddStored(1);
  }
  if (association != nullptr && !tracker_.cancelled()) association->Release();
}

absl::StatusOr<DeliveryProgress> CStoreDelivery::Finish() {
  Join();
  {
    const absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
  }
  if (tracker_.cancelled()) return absl::CancelledError("delivery cancelled");
  if (config_.commitment_timeout > absl::ZeroDuration()) {
    if (absl::Status status = Commit(); !status.ok()) return status;
  }
  return tracker_.progress();
}

absl::Status CStoreDelivery::Commit() {
  std::vector<InstanceIdentity> instances;
  {
    const absl::MutexLock lock(&mutex_);
    instances = stored_;
  }
  if (instances.empty()) return absl::OkStatus();
  absl::Status status;
  bool committed = false;
  // In a thread of its own, because of the signal mask.
  std::thread([&] {
    BlockBrokenPipeSignal();
    status = tracker_.WithRetries(config_.retry, [&]() -> absl::Status {
      const absl::StatusOr<bool> answer = RequestCommitment(config_, instances, tracker_);
      committed = answer.ok() && *answer;
      return answer.status();
    });
  }).join();
  if (committed) tracker_.SetCommitted();
  return status;
}

void CStoreDelivery::Cancel() {
  tracker_.Cancel();
  // Taking the lock makes those who wait look again.
  const absl::MutexLock lock(&mutex_);
}

void CStoreDelivery::Join() {
  {
    const absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Delivery>> BeginCStore(const DestinationConfig& config,
                                                      ProgressCallback progress) {
  if (absl::Status status = StartDcmtk(); !status.ok()) return status;
  RegisterCodecs();
  return std::make_unique<CStoreDelivery>(config, std::move(progress));
}

}  // namespace synthvol::imaging::dicom
