#include "client/cli/interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>

namespace synthvol::client {
namespace {

constexpr int kPollNanoseconds = 100'000'000;
// What a shell reports for a process that SIGINT ended.
constexpr int kExitInterrupted = 130;

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([this] { Watch(); });
}

InterruptGuard::~InterruptGuard() {
  stopping_ = true;
  thread_.join();
  const sigset_t signals = Signals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void InterruptGuard::Watch() {
  const sigset_t signals = Signals();
  const timespec poll{0, kPollNanoseconds};
  while (!stopping_) {
    if (sigtimedwait(&signals, nullptr, &poll) < 0) continue;
    if (interrupted_.exchange(true)) _exit(kExitInterrupted);
    cancellation_.Cancel();
  }
}

}  // namespace synthvol::client
