// What the deliveries share: progress, cancellation and attempts with backoff. Private to
// imaging/dicom.
//
// Thread-safe. The callback runs under the lock, so never concurrently.
#ifndef SYNTHVOL_IMAGING_DICOM_DELIVERY_TRACKER_H_
#define SYNTHVOL_IMAGING_DICOM_DELIVERY_TRACKER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "imaging/dicom/destination.h"

namespace synthvol::imaging::dicom {

class DeliveryTracker {
 public:
  explicit DeliveryTracker(ProgressCallback callback) : callback_(std::move(callback)) {}

  // Counts acknowledged instances and reports.
  void AddStored(int64_t count) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetCommitted() ABSL_LOCKS_EXCLUDED(mutex_);
  DeliveryProgress progress() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Makes running and coming attempts end with CANCELLED, also those that wait for a peer.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);
  // Cheap: may be asked in loops and by callbacks of foreign libraries.
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  // Runs `attempt` until it succeeds, fails for good, or max_attempts are used up; waits in
  // between, twice as long each time. UNAVAILABLE and RESOURCE_EXHAUSTED may pass and are tried
  // again; every other status is final.
  absl::Status WithRetries(const RetryOptions& options,
                           const std::function<absl::Status()>& attempt)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class HangUp;

  // Returns false when cancelled meanwhile.
  bool Pause(absl::Duration duration) ABSL_LOCKS_EXCLUDED(mutex_);
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ProgressCallback callback_;
  std::atomic<bool> cancelled_{false};
  mutable absl::Mutex mutex_;
  DeliveryProgress progress_ ABSL_GUARDED_BY(mutex_);
  // Connections to be broken off by Cancel.
  std::set<int> sockets_ ABSL_GUARDED_BY(mutex_);
};

// Breaks a connection off when its delivery is cancelled: a peer that takes a connection and never
// says a word would hold the thread that talks to it for the whole of a timeout. Lives as long as
// the connection.
class HangUp {
 public:
  HangUp(DeliveryTracker& tracker, int socket) ABSL_LOCKS_EXCLUDED(tracker.mutex_);
  ~HangUp() ABSL_LOCKS_EXCLUDED(tracker_.mutex_);
  HangUp(const HangUp&) = delete;
  HangUp& operator=(const HangUp&) = delete;

 private:
  DeliveryTracker& tracker_;
  // A descriptor of our own, as the library that opened the connection closes its one when it likes
  // and the number goes to somebody else.
  const int socket_;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_DELIVERY_TRACKER_H_
