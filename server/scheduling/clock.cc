#include "server/scheduling/clock.h"

#include "absl/time/clock.h"

namespace synthvol::server {
namespace {

class RealClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
  void WaitUntil(absl::CondVar& changed, absl::Mutex& mutex, absl::Time until) const override {
    changed.WaitWithDeadline(&mutex, until);
  }
};

}  // namespace

const Clock* Clock::Real() {
  static const RealClock* const clock = new RealClock;
  return clock;
}

}  // namespace synthvol::server
