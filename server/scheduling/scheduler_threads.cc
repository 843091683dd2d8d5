// The threads of the scheduler: workers, and the timer that ends what is late or stuck.
#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/scheduling/annotated_status.h"
#include "server/scheduling/scheduler.h"

namespace synthvol::server {

void Scheduler::NotifyWorkersChanged() const {
  if (options_.observer.on_workers_changed) options_.observer.on_workers_changed();
}

void Scheduler::WorkerLoop(int index) {
  absl::MutexLock lock(&mutex_);
  while (true) {
    std::optional<FairQueue::Taken> taken;
    while (!stopping_ && !(taken = queue_.Pop()).has_value()) work_.Wait(&mutex_);
    if (!taken.has_value()) return;
    RunTurn(index, *taken);
    if (workers_[index].state == WorkerState::kRebuilding && !RebuildWorker(index)) return;
  }
}

void Scheduler::RunTurn(int index, const FairQueue::Taken& taken) {
  Open& open = open_.at(taken.id);
  const absl::Time begin = options_.clock->Now();
  const std::shared_ptr<Task> task = open.task;
  const std::shared_ptr<Turn> turn = std::make_shared<Turn>(index, options_.clock);
  const TaskSpec spec = open.spec;
  const bool first = !open.started;
  const absl::Duration waited = begin - open.admitted;
  const absl::Duration expected = open.expected_wait;
  open.state = State::kRunning;
  open.started = true;
  open.turn = turn;
  Worker& worker = workers_[index];
  worker.state = WorkerState::kRunning;
  worker.task_id = taken.id;
  worker.task_name = spec.name;
  worker.since = begin;
  worker.turn = turn;
  worker.work = taken.charged;
  ++FindTenant(spec.tenant).running;
  // The watchdog has something to watch.
  timer_.SignalAll();

  mutex_.Unlock();
  if (first && options_.observer.on_start) options_.observer.on_start(spec, waited, expected);
  TurnResult result = task->Run(*turn);
  const absl::Time end = options_.clock->Now();
  const bool well = result.status.ok();
  if (well && options_.observer.on_turn) options_.observer.on_turn(spec, end - begin);
  mutex_.Lock();

  const bool was_stuck = worker.state == WorkerState::kStuck;
  worker.state = result.device_fault ? WorkerState::kRebuilding : WorkerState::kIdle;
  worker.task_id = 0;
  worker.turn = nullptr;
  --FindTenant(spec.tenant).running;
  queue_.Finish(taken, end - begin);
  // A slot of the tenant is free again: what it held back may go to any idle worker.
  work_.Signal();
  if (well) service_times_.Record(spec.service_key, end - begin);

  std::optional<Ended> ended;
  if (const auto it = open_.find(taken.id); it != open_.end()) {
    it->second.turn = nullptr;
    if (result.next == TurnResult::Next::kDone) {
      ended = Close(taken.id, result.status);
    } else if (result.next == TurnResult::Next::kAgain || it->second.resume_pending) {
      Enqueue(taken.id, it->second, end);
    } else {
      it->second.state = State::kParked;
    }
  }
  if (!ended.has_value() && !was_stuck && !result.device_fault) return;
  mutex_.Unlock();
  if (ended.has_value()) ended->task->OnEnd(ended->status);
  if (was_stuck || result.device_fault) NotifyWorkersChanged();
  mutex_.Lock();
}

bool Scheduler::RebuildWorker(int index) {
  absl::Duration pause = options_.rebuild_pause;
  bool rebuilt = false;
  for (int attempt = 0; attempt < options_.rebuild_attempts && !rebuilt && !stopping_; ++attempt) {
    if (attempt > 0) {
      options_.clock->WaitUntil(timer_, mutex_, options_.clock->Now() + pause);
      pause *= 2;
    }
    mutex_.Unlock();
    rebuilt = options_.rebuild == nullptr || options_.rebuild(index).ok();
    mutex_.Lock();
  }
  workers_[index].state = rebuilt ? WorkerState::kIdle : WorkerState::kFailed;
  std::vector<Ended> ended;
  if (CountUsable() == 0) {
    // Nobody is left to run what waits; refusing it now beats letting it expire.
    const absl::Status status = WithReason(
        absl::UnavailableError("no device of the server works at the moment"), "NO_WORKER");
    while (!open_.empty()) ended.push_back(Close(open_.begin()->first, status));
  }
  mutex_.Unlock();
  for (const Ended& end : ended) end.task->OnEnd(end.status);
  NotifyWorkersChanged();
  mutex_.Lock();
  return rebuilt;
}

void Scheduler::TimerLoop() {
  mutex_.Lock();
  while (!stopping_) {
    const absl::Time now = options_.clock->Now();
    std::vector<Ended> ended = TakeExpired(now);
    const size_t expired = ended.size();
    const absl::Time watchdog = CheckWatchdog(now, ended);
    if (!ended.empty()) {
      const bool stuck = ended.size() > expired;
      mutex_.Unlock();
      for (const Ended& end : ended) end.task->OnEnd(end.status);
      if (stuck) NotifyWorkersChanged();
      mutex_.Lock();
      continue;
    }
    const absl::Time next =
        deadlines_.empty() ? watchdog : std::min(watchdog, deadlines_.begin()->first);
    options_.clock->WaitUntil(timer_, mutex_, next);
  }
  mutex_.Unlock();
}

std::vector<Scheduler::Ended> Scheduler::TakeExpired(absl::Time now) {
  std::vector<Ended> ended;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const TaskId id = deadlines_.begin()->second;
    const bool started = open_.at(id).started;
    ended.push_back(Close(id, WithReason(absl::DeadlineExceededError(
                                             started ? "the deadline passed while the request ran"
                                                     : "the deadline passed in the queue"),
                                         "DEADLINE")));
  }
  return ended;
}

absl::Time Scheduler::CheckWatchdog(absl::Time now, std::vector<Ended>& ended) {
  absl::Time next = absl::InfiniteFuture();
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = workers_[i];
    if (worker.state != WorkerState::kRunning) continue;
    const absl::Time limit = worker.turn->last_progress() + options_.watchdog_timeout;
    if (limit > now) {
      next = std::min(next, limit);
      continue;
    }
    worker.state = WorkerState::kStuck;
    if (open_.find(worker.task_id) != open_.end()) {
      ended.push_back(
          Close(worker.task_id,
                WithReason(absl::InternalError("the device does not answer"), "DEVICE_STUCK")));
    }
  }
  return next;
}

}  // namespace synthvol::server
