// Admission, order and execution of tasks on a fixed set of workers.
//
// Life of a task:
//
//   Submit --refused--> (the caller keeps it; nothing of it is called)
//     |
//   WAITING --worker free--> RUNNING --kDone--> DONE
//     ^  |                    |    |
//     |  |      +---kAgain----+    +--kPark--> PARKED
//     +--|------+                                |
//     ^  |                                       |
//     +--|----------------Resume-----------------+
//        |
//   deadline, End, Stop: from any state to DONE, at that moment. A task that runs then is told
//   through its Turn and gives its worker back at its next check.
//
// Refusals are annotated (annotated_status.h) with a reason, a quota and a time to retry after:
//   RESOURCE_EXHAUSTED  QUEUE_FULL, QUEUE_BYTES, TENANT_REQUESTS, TENANT_RATE,
//   DEADLINE_UNREACHABLE,
//                       and REQUEST_BYTES for what no waiting makes fit (no time to retry after)
//   UNAVAILABLE         DRAINING, NO_WORKER
//   DEADLINE_EXCEEDED   for a deadline that has passed already
//
// Thread-safe. Owns its threads (one per worker, one timer) and shares admitted tasks until they
// end. No lock is held while a task or an observer is called. The destructor stops.
#ifndef SYNTHVOL_SERVER_SCHEDULING_SCHEDULER_H_
#define SYNTHVOL_SERVER_SCHEDULING_SCHEDULER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/scheduling/clock.h"
#include "server/scheduling/fair_queue.h"
#include "server/scheduling/service_times.h"
#include "server/scheduling/task.h"
#include "server/scheduling/token_bucket.h"

namespace synthvol::server {

// Zero means no limit.
struct TenantLimits {
  double weight = 1.0;
  uint32_t max_running = 0;
  uint32_t max_requests = 0;
  double turns_per_second = 0.0;
  double burst_turns = 0.0;
};

enum class WorkerState { kIdle, kRunning, kRebuilding, kStuck, kFailed };

// Returns "idle", "running", "rebuilding", "stuck" or "failed".
const char* ToString(WorkerState state);

// What happens inside, for metrics and health. Called without locks, from worker and timer threads.
struct SchedulerObserver {
  // A task's first turn begins: how long it waited, and how long that was expected to be.
  std::function<void(const TaskSpec&, absl::Duration waited, absl::Duration expected)> on_start;
  // A turn ended well after this long.
  std::function<void(const TaskSpec&, absl::Duration)> on_turn;
  // A worker became usable or ceased to be.
  std::function<void()> on_workers_changed;
};

struct SchedulerOptions {
  // One entry a worker: the name of its device.
  std::vector<std::string> workers;
  uint32_t max_requests = 1024;
  uint64_t max_bytes = 4ULL << 30;
  absl::Duration ageing_interval = absl::Seconds(10);
  TenantLimits default_tenant;
  std::map<std::string, TenantLimits> tenants;
  // A turn without progress for this long has its worker taken out until it returns.
  absl::Duration watchdog_timeout = absl::Seconds(120);
  // Brings a worker's device back after a fault; retried with growing pauses, `rebuild_attempts`
  // times in a row, before the worker is given up.
  std::function<absl::Status(int worker)> rebuild;
  int rebuild_attempts = 5;
  absl::Duration rebuild_pause = absl::Milliseconds(200);
  SchedulerObserver observer;
  const Clock* clock = Clock::Real();
};

struct Admission {
  TaskId id = 0;
  // When its first turn is expected to begin.
  absl::Duration expected_wait;
};

// The live picture.
struct SchedulerSnapshot {
  struct Worker {
    std::string device;
    WorkerState state = WorkerState::kIdle;
    std::string task;
    absl::Duration running;
  };
  struct Tenant {
    uint32_t waiting = 0;
    uint32_t running = 0;
    uint64_t completed = 0;
    uint64_t refused = 0;
  };
  bool draining = false;
  uint32_t open = 0;
  uint32_t waiting = 0;
  uint32_t running = 0;
  uint32_t parked = 0;
  uint64_t bytes = 0;
  // What a tenant with nothing open would wait.
  absl::Duration expected_wait;
  // Until all work that is open now would be done, by measured service times.
  absl::Duration backlog;
  std::vector<Worker> workers;
  std::map<std::string, Tenant> tenants;
};

class Scheduler {
 public:
  // Starts the threads.
  explicit Scheduler(SchedulerOptions options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Returns an id for TaskSpec::id, so that a task may know its own before it runs.
  TaskId NewTaskId();
  // Admits a task or refuses it at once.
  absl::StatusOr<Admission> Submit(TaskSpec spec, std::shared_ptr<Task> task);
  // Ends a task from outside: cancelled, or with OK when what it parked for was all that was left.
  // Without effect on one that ended.
  void End(TaskId id, const absl::Status& status);
  // Lets a parked task wait for a turn again; on a running one, its parking does not hold.
  void Resume(TaskId id);

  // Refuses new tasks from now on; admitted ones go on.
  void Drain();
  // Waits until no task is open, or until `until`; returns whether none is.
  bool AwaitIdle(absl::Time until);
  // Drains, ends all open tasks with `status`, and joins the threads.
  void Stop(const absl::Status& status);

  // Returns how many workers are not stuck or failed.
  int UsableWorkers() const;
  SchedulerSnapshot Snapshot() const;

 private:
  enum class State { kWaiting, kRunning, kParked };

  struct Open {
    TaskSpec spec;
    std::shared_ptr<Task> task;
    State state = State::kWaiting;
    absl::Time admitted;
    absl::Duration expected_wait;
    bool started = false;
    bool resume_pending = false;
    std::shared_ptr<Turn> turn;
  };

  struct Tenant {
    explicit Tenant(const TenantLimits& l);
    TenantLimits limits;
    TokenBucket bucket;
    uint32_t open = 0;
    uint32_t running = 0;
    uint64_t completed = 0;
    uint64_t refused = 0;
  };

  struct Worker {
    WorkerState state = WorkerState::kIdle;
    TaskId task_id = 0;
    std::string task_name;
    absl::Time since;
    std::shared_ptr<Turn> turn;
    // Estimated time of the running turn.
    absl::Duration work;
  };

  struct Ended {
    std::shared_ptr<Task> task;
    absl::Status status;
  };

  absl::Status CheckAdmission(const TaskSpec& spec, Tenant& tenant, absl::Time now,
                              absl::Duration expected_wait) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Tenant& FindTenant(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration ExpectedWait(const TaskSpec& spec, absl::Time now) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Duration RemainingOfRunning(absl::Time now) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Duration DrainTime() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Duration TurnEstimate(const TaskSpec& spec) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  int CountUsable() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Enqueue(TaskId id, Open& open, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes an open task out of every structure; the caller calls OnEnd without the lock.
  Ended Close(TaskId id, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void WorkerLoop(int index) ABSL_LOCKS_EXCLUDED(mutex_);
  // Runs one turn of the task that was taken. The lock is held on entry and exit, not meanwhile.
  void RunTurn(int index, const FairQueue::Taken& taken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Rebuilds the device of a worker; false when it is given up. Locking as in RunTurn.
  bool RebuildWorker(int index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TimerLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<Ended> TakeExpired(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the tasks of workers without progress; returns the time of the next such check.
  absl::Time CheckWatchdog(absl::Time now, std::vector<Ended>& ended)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyWorkersChanged() const;

  const SchedulerOptions options_;

  // Self-synchronised: work_ wakes workers, timer_ the timer, idle_ who waits for idleness.
  absl::CondVar work_;
  absl::CondVar timer_;
  absl::CondVar idle_;

  mutable absl::Mutex mutex_;
  FairQueue queue_ ABSL_GUARDED_BY(mutex_);
  ServiceTimes service_times_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<TaskId, Open> open_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<absl::Time, TaskId>> deadlines_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Tenant> tenants_ ABSL_GUARDED_BY(mutex_);
  std::vector<Worker> workers_ ABSL_GUARDED_BY(mutex_);
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  TaskId last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SCHEDULING_SCHEDULER_H_
