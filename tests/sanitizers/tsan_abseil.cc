// Tells the thread sanitizer what Debian's Abseil does, which is not instrumented: without this
// every use of absl::Mutex looks like a race. Part of thread-sanitizer builds only.
//
// The definitions below stand in front of those of libabsl_synchronization.so for everything that
// the dynamic linker binds, so also for gRPC's own mutexes: what one of its threads wrote before it
// released one is known to have happened before what another does after acquiring it. Atomics
// inside gRPC stay invisible; tests/sanitizers/races.txt names what follows from that.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {
// Of the sanitizer's run time.
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace {

// Finds Abseil's own definition of a symbol.
void* Find(const char* symbol) {
  void* const found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) std::abort();
  return found;
}

template <typename Result, typename... Arguments>
Result CallReal(void* function, Arguments... arguments) {
  // A member function takes its object as first argument.
  return reinterpret_cast<Result (*)(Arguments...)>(function)(arguments...);
}

// Whoever gives a mutex up evaluates the conditions of those who wait for it, and so reads what
// they guard: after the release below, but before anybody else can have the mutex.
class OthersConditions {
 public:
  OthersConditions() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~OthersConditions() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

// Between these the mutex is free, as far as the sanitizer is concerned.
class Freed {
 public:
  explicit Freed(Mutex* mutex) : mutex_(mutex) { __tsan_release(mutex_); }
  ~Freed() { __tsan_acquire(mutex_); }

 private:
  Mutex* const mutex_;
  const OthersConditions conditions_;
};

}  // namespace

#define REAL(symbol) static void* const real = Find(symbol);

void Mutex::Lock() {
  REAL("_ZN4absl7debian35Mutex4LockEv")
  CallReal<void>(real, this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  REAL("_ZN4absl7debian35Mutex6UnlockEv")
  const OthersConditions conditions;
  __tsan_release(this);
  CallReal<void>(real, this);
}

bool Mutex::TryLock() {
  REAL("_ZN4absl7debian35Mutex7TryLockEv")
  const bool locked = CallReal<bool>(real, this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::ReaderLock() {
  REAL("_ZN4absl7debian35Mutex10ReaderLockEv")
  CallReal<void>(real, this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  REAL("_ZN4absl7debian35Mutex12ReaderUnlockEv")
  const OthersConditions conditions;
  __tsan_release(this);
  CallReal<void>(real, this);
}

void Mutex::Await(const Condition& condition) {
  REAL("_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE")
  const Freed freed(this);
  CallReal<void>(real, this, &condition);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  REAL("_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE")
  const Freed freed(this);
  return CallReal<bool>(real, this, &condition, timeout);
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  REAL("_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE")
  const Freed freed(this);
  return CallReal<bool>(real, this, &condition, deadline);
}

void Mutex::LockWhen(const Condition& condition) {
  REAL("_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE")
  CallReal<void>(real, this, &condition);
  __tsan_acquire(this);
}

void CondVar::Wait(Mutex* mutex) {
  REAL("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE")
  const Freed freed(mutex);
  CallReal<void>(real, this, mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  REAL("_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE")
  const Freed freed(mutex);
  return CallReal<bool>(real, this, mutex, timeout);
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  REAL("_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE")
  const Freed freed(mutex);
  return CallReal<bool>(real, this, mutex, deadline);
}

void Notification::Notify() {
  REAL("_ZN4absl7debian312Notification6NotifyEv")
  __tsan_release(this);
  CallReal<void>(real, this);
}

void Notification::WaitForNotification() const {
  REAL("_ZNK4absl7debian312Notification19WaitForNotificationEv")
  CallReal<void>(real, this);
  __tsan_acquire(const_cast<Notification*>(this));
}

ABSL_NAMESPACE_END
}  // namespace absl
