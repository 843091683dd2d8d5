// The time that scheduling decides by. Tests step a clock of their own.
//
// Implementations are thread-safe.
#ifndef SYNTHVOL_SERVER_SCHEDULING_CLOCK_H_
#define SYNTHVOL_SERVER_SCHEDULING_CLOCK_H_

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace synthvol::server {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
  // Waits on `changed` until `until` on this clock or a signal, whichever is first.
  virtual void WaitUntil(absl::CondVar& changed, absl::Mutex& mutex, absl::Time until) const = 0;

  // Returns the clock of the machine; lives for ever.
  static const Clock* Real();
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SCHEDULING_CLOCK_H_
