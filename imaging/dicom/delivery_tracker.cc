#include "imaging/dicom/delivery_tracker.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"

namespace synthvol::imaging::dicom {
namespace {

bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

}  // namespace

void DeliveryTracker::Report() {
  if (callback_ != nullptr) callback_(progress_);
}

void DeliveryTracker::AddStored(int64_t count) {
  const absl::MutexLock lock(&mutex_);
  progress_.stored += count;
  Report();
}

void DeliveryTracker::SetCommitted() {
  const absl::MutexLock lock(&mutex_);
  progress_.committed = true;
  Report();
}

DeliveryProgress DeliveryTracker::progress() const {
  const absl::MutexLock lock(&mutex_);
  return progress_;
}

void DeliveryTracker::Cancel() {
  // Under the lock, so that Pause, which waits for it, wakes.
  const absl::MutexLock lock(&mutex_);
  cancelled_.store(true, std::memory_order_relaxed);
  for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
}

HangUp::HangUp(DeliveryTracker& tracker, int socket)
    : tracker_(tracker), socket_(fcntl(socket, F_DUPFD_CLOEXEC, 0)) {
  const absl::MutexLock lock(&tracker_.mutex_);
  if (tracker_.cancelled()) shutdown(socket, SHUT_RDWR);
  if (socket_ >= 0) tracker_.sockets_.insert(socket_);
}

HangUp::~HangUp() {
  if (socket_ < 0) return;
  {
    const absl::MutexLock lock(&tracker_.mutex_);
    tracker_.sockets_.erase(socket_);
  }
  close(socket_);
}

bool DeliveryTracker::Pause(absl::Duration duration) {
  const absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &DeliveryTracker::cancelled), duration);
  return !cancelled();
}

absl::Status DeliveryTracker::WithRetries(const RetryOptions& options,
                                          const std::function<absl::Status()>& attempt) {
  absl::BitGen random;
  absl::Duration backoff = options.initial_backoff;
  for (int number = 1;; ++number) {
    if (cancelled()) return absl::CancelledError("delivery cancelled");
    const absl::Status status = attempt();
    if (cancelled() && !status.ok()) return absl::CancelledError("delivery cancelled");
    if (status.ok() || !MayPass(status)) return status;
    if (number >= options.max_attempts) {
      return absl::Status(status.code(),
                          absl::StrCat(status.message(), " (", number, " attempts)"));
    }
    {
      const absl::MutexLock lock(&mutex_);
      ++progress_.retries;
      Report();
    }
    // Jitter: deliveries that failed together do not return together.
    Pause(backoff * absl::Uniform(random, 0.5, 1.0));
    backoff = std::min(backoff * 2, options.max_backoff);
  }
}

}  // namespace synthvol::imaging::dicom
