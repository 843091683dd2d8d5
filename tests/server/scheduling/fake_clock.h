// A clock that stands until a test moves it.
#ifndef SYNTHVOL_TESTS_SERVER_SCHEDULING_FAKE_CLOCK_H_
#define SYNTHVOL_TESTS_SERVER_SCHEDULING_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/scheduling/clock.h"

namespace synthvol::server {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  // Waits in short real steps: whoever waits looks at Now() again.
  void WaitUntil(absl::CondVar& changed, absl::Mutex& mutex, absl::Time until) const override {
    if (Now() < until) changed.WaitWithTimeout(&mutex, absl::Milliseconds(1));
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::FromUnixSeconds(1700000000);
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_TESTS_SERVER_SCHEDULING_FAKE_CLOCK_H_
