// Turns SIGINT and SIGTERM into a cancellation, so that what is on disk stays fit to continue.
//
// Make it before any thread starts (gRPC's too: they inherit the blocked signals). A second signal
// ends the process.
#ifndef SYNTHVOL_CLIENT_CLI_INTERRUPT_H_
#define SYNTHVOL_CLIENT_CLI_INTERRUPT_H_

#include <atomic>
#include <thread>

#include "client/client.h"

namespace synthvol::client {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  Cancellation* cancellation() { return &cancellation_; }
  // Whether a signal came.
  bool interrupted() const { return interrupted_; }

 private:
  void Watch();

  Cancellation cancellation_;
  std::atomic<bool> interrupted_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_INTERRUPT_H_
