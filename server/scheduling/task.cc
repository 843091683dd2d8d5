#include "server/scheduling/task.h"

namespace synthvol::server {

absl::Status Turn::Check() {
  absl::MutexLock lock(&mutex_);
  progress_ = clock_->Now();
  return interrupted_;
}

void Turn::Interrupt(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (interrupted_.ok()) interrupted_ = status;
}

absl::Time Turn::last_progress() const {
  absl::MutexLock lock(&mutex_);
  return progress_;
}

}  // namespace synthvol::server
