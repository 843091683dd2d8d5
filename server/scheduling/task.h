// What the scheduler runs: a task of one or more turns, each on one worker.
#ifndef SYNTHVOL_SERVER_SCHEDULING_TASK_H_
#define SYNTHVOL_SERVER_SCHEDULING_TASK_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/scheduling/clock.h"
#include "server/scheduling/fair_queue.h"

namespace synthvol::server {

using TaskId = uint64_t;

// What the scheduler needs to know of a task before it runs.
struct TaskSpec {
  // From Scheduler::NewTaskId.
  TaskId id = 0;
  // For logs.
  std::string name;
  std::string tenant;
  Priority priority = Priority::kNormal;
  // Memory that the task may hold until it ends.
  uint64_t bytes = 0;
  // Turns that it will take, and the key under which their duration is measured.
  uint32_t turns = 1;
  std::string service_key;
  absl::Time deadline = absl::InfiniteFuture();
};

// The view that a running turn has of its worker. Thread-safe; lives as long as the turn.
class Turn {
 public:
  Turn(int worker, const Clock* clock) : worker_(worker), clock_(clock), progress_(clock->Now()) {}

  // Index of the worker that runs this turn.
  int worker() const { return worker_; }
  // Tells the watchdog that work goes on, and returns why the task was ended meanwhile, if it was:
  // the turn should return at once then. Cheap; call it for each slab.
  absl::Status Check() ABSL_LOCKS_EXCLUDED(mutex_);

  // For the scheduler: ends the turn at its next Check; the time of the last Check.
  void Interrupt(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Time last_progress() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const int worker_;
  const Clock* const clock_;
  mutable absl::Mutex mutex_;
  absl::Time progress_ ABSL_GUARDED_BY(mutex_);
  absl::Status interrupted_ ABSL_GUARDED_BY(mutex_);
};

// How a turn ended.
struct TurnResult {
  enum class Next {
    // The task is finished, well or not, with `status`.
    kDone,
    // It waits for another turn.
    kAgain,
    // It waits for Scheduler::Resume, holding no worker.
    kPark,
  };
  Next next = Next::kDone;
  absl::Status status;
  // The device is to be rebuilt before its worker goes on.
  bool device_fault = false;
};

// Implementations are called from several threads, but Run from one at a time.
class Task {
 public:
  virtual ~Task() = default;

  // Does one turn of work.
  virtual TurnResult Run(Turn& turn) = 0;

  // Hears how the task ended: exactly once for every admitted task, never for a refused one, and
  // with no lock held. A task that is ended from outside (deadline, cancellation, drain) hears it
  // at that moment, while Run may still be on its way to its next Turn::Check; keep it short.
  virtual void OnEnd(const absl::Status& status) = 0;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SCHEDULING_TASK_H_
