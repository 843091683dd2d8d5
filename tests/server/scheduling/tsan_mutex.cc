// Tells the thread sanitizer what Debian's Abseil does, which is not instrumented: without this
// every use of absl::Mutex looks like a race. Part of thread-sanitizer builds only, where the
// linker sends each call here (--wrap in tests/server/CMakeLists.txt).
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace synthvol::server {

using absl::CondVar;
using absl::Duration;
using absl::Mutex;
using absl::Notification;
using absl::Time;

#define REAL(symbol) __asm__("__real_" symbol)
#define WRAP(symbol) __asm__("__wrap_" symbol)

void RealLock(Mutex*) REAL("_ZN4absl7debian35Mutex4LockEv");
void WrapLock(Mutex*) WRAP("_ZN4absl7debian35Mutex4LockEv");
void WrapLock(Mutex* mutex) {
  RealLock(mutex);
  __tsan_acquire(mutex);
}

void RealUnlock(Mutex*) REAL("_ZN4absl7debian35Mutex6UnlockEv");
void WrapUnlock(Mutex*) WRAP("_ZN4absl7debian35Mutex6UnlockEv");
void WrapUnlock(Mutex* mutex) {
  __tsan_release(mutex);
  RealUnlock(mutex);
}

void RealWait(CondVar*, Mutex*) REAL("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
void WrapWait(CondVar*, Mutex*) WRAP("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
void WrapWait(CondVar* changed, Mutex* mutex) {
  __tsan_release(mutex);
  RealWait(changed, mutex);
  __tsan_acquire(mutex);
}

bool RealWaitUntil(CondVar*, Mutex*, Time)
    REAL("_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
bool WrapWaitUntil(CondVar*, Mutex*, Time)
    WRAP("_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
bool WrapWaitUntil(CondVar* changed, Mutex* mutex, Time until) {
  __tsan_release(mutex);
  const bool late = RealWaitUntil(changed, mutex, until);
  __tsan_acquire(mutex);
  return late;
}

bool RealWaitFor(CondVar*, Mutex*, Duration)
    REAL("_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
bool WrapWaitFor(CondVar*, Mutex*, Duration)
    WRAP("_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
bool WrapWaitFor(CondVar* changed, Mutex* mutex, Duration duration) {
  __tsan_release(mutex);
  const bool late = RealWaitFor(changed, mutex, duration);
  __tsan_acquire(mutex);
  return late;
}

void RealNotify(Notification*) REAL("_ZN4absl7debian312Notification6NotifyEv");
void WrapNotify(Notification*) WRAP("_ZN4absl7debian312Notification6NotifyEv");
void WrapNotify(Notification* notification) {
  __tsan_release(notification);
  RealNotify(notification);
}

void RealAwait(const Notification*) REAL("_ZNK4absl7debian312Notification19WaitForNotificationEv");
void WrapAwait(const Notification*) WRAP("_ZNK4absl7debian312Notification19WaitForNotificationEv");
void WrapAwait(const Notification* notification) {
  RealAwait(notification);
  __tsan_acquire(const_cast<Notification*>(notification));
}

}  // namespace synthvol::server
