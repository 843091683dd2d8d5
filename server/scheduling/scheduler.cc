#include "server/scheduling/scheduler.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

constexpr absl::Duration kLeastRetryAfter = absl::Milliseconds(100);
constexpr absl::Duration kMostRetryAfter = absl::Minutes(5);

absl::Status Refuse(absl::StatusCode code, absl::string_view reason, absl::string_view subject,
                    absl::string_view message, absl::Duration retry_after) {
  retry_after = std::clamp(retry_after, kLeastRetryAfter, kMostRetryAfter);
  absl::Status status =
      WithRetryAfter(WithReason(absl::Status(code, message), reason), retry_after);
  return subject.empty() ? status : WithQuotaSubject(status, subject);
}

absl::Status Exhausted(absl::string_view reason, absl::string_view subject,
                       absl::string_view message, absl::Duration retry_after) {
  return Refuse(absl::StatusCode::kResourceExhausted, reason, subject, message, retry_after);
}

double Burst(const TenantLimits& limits) {
  return limits.burst_turns > 0.0 ? limits.burst_turns
                                  : std::max(1.0, 10.0 * limits.turns_per_second);
}

}  // namespace

const char* ToString(WorkerState state) {
  switch (state) {
    case WorkerState::kIdle:
      return "idle";
    case WorkerState::kRunning:
      return "running";
    case WorkerState::kRebuilding:
      return "rebuilding";
    case WorkerState::kStuck:
      return "stuck";
    case WorkerState::kFailed:
      return "failed";
  }
  return "failed";
}

Scheduler::Tenant::Tenant(const TenantLimits& l)
    : limits(l), bucket(l.turns_per_second, Burst(l)) {}

Scheduler::Scheduler(SchedulerOptions options)
    : options_(std::move(options)),
      queue_(options_.ageing_interval),
      workers_(options_.workers.size()) {
  for (int i = 0; i < static_cast<int>(options_.workers.size()); ++i) {
    threads_.emplace_back([this, i] { WorkerLoop(i); });
  }
  threads_.emplace_back([this] { TimerLoop(); });
}

Scheduler::~Scheduler() { Stop(absl::UnavailableError("the server stops")); }

TaskId Scheduler::NewTaskId() {
  absl::MutexLock lock(&mutex_);
  return ++last_id_;
}

Scheduler::Tenant& Scheduler::FindTenant(const std::string& name) {
  const auto it = tenants_.find(name);
  if (it != tenants_.end()) return it->second;
  const auto limits = options_.tenants.find(name);
  const TenantLimits& chosen =
      limits == options_.tenants.end() ? options_.default_tenant : limits->second;
  queue_.SetTenant(name, chosen.weight > 0.0 ? chosen.weight : 1.0, chosen.max_running);
  return tenants_.try_emplace(name, chosen).first->second;
}

absl::Duration Scheduler::TurnEstimate(const TaskSpec& spec) const {
  return service_times_.Estimate(spec.service_key).value_or(absl::ZeroDuration());
}

int Scheduler::CountUsable() const {
  return static_cast<int>(std::count_if(workers_.begin(), workers_.end(), [](const Worker& worker) {
    return worker.state != WorkerState::kStuck && worker.state != WorkerState::kFailed;
  }));
}

absl::Duration Scheduler::RemainingOfRunning(absl::Time now) const {
  absl::Duration remaining;
  for (const Worker& worker : workers_) {
    if (worker.state != WorkerState::kRunning) continue;
    remaining += std::max(absl::ZeroDuration(), worker.work - (now - worker.since));
  }
  return remaining;
}

absl::Duration Scheduler::ExpectedWait(const TaskSpec& spec, absl::Time now) const {
  absl::Duration soonest = absl::InfiniteDuration();
  bool idle = false;
  for (const Worker& worker : workers_) {
    idle = idle || worker.state == WorkerState::kIdle;
    if (worker.state != WorkerState::kRunning) continue;
    const absl::Duration left = worker.work - (now - worker.since);
    soonest = std::min(soonest, std::max(absl::ZeroDuration(), left));
  }
  const absl::Duration ahead = queue_.WorkAhead(spec.tenant, spec.priority);
  if (ahead == absl::ZeroDuration()) {
    return idle || soonest == absl::InfiniteDuration() ? absl::ZeroDuration() : soonest;
  }
  return (ahead + RemainingOfRunning(now)) / std::max(1, CountUsable());
}

absl::Duration Scheduler::DrainTime() const {
  // Half of what waits: coming back when the queue is empty would leave workers idle.
  return queue_.work() / 2 / std::max(1, CountUsable());
}

absl::Status Scheduler::CheckAdmission(const TaskSpec& spec, Tenant& tenant, absl::Time now,
                                       absl::Duration expected_wait) const {
  if (draining_) {
    return Refuse(absl::StatusCode::kUnavailable, "DRAINING", "",
                  "the server is shutting down; another one takes over", absl::Seconds(1));
  }
  if (CountUsable() == 0) {
    return Refuse(absl::StatusCode::kUnavailable, "NO_WORKER", "",
                  "no device of the server works at the moment", absl::Seconds(5));
  }
  if (spec.deadline <= now) {
    return WithReason(absl::DeadlineExceededError("the deadline has passed already"), "DEADLINE");
  }
  if (open_.size() >= options_.max_requests) {
    return Exhausted("QUEUE_FULL", "queue:requests",
                     absl::StrCat("the queue is full: ", open_.size(), " requests are open"),
                     DrainTime());
  }
  if (spec.bytes > options_.max_bytes) {
    // No time to retry after: waiting will not make it smaller.
    return WithQuotaSubject(
        WithReason(absl::ResourceExhaustedError(
                       absl::StrCat("the request needs ", spec.bytes, " bytes of memory; ",
                                    options_.max_bytes, " is all that open requests may hold")),
                   "REQUEST_BYTES"),
        "queue:bytes");
  }
  if (spec.bytes > options_.max_bytes - bytes_) {
    return Exhausted("QUEUE_BYTES", "queue:bytes",
                     absl::StrCat("the memory for open requests is used up: this one needs ",
                                  spec.bytes, " bytes, ", options_.max_bytes - bytes_, " are free"),
                     DrainTime());
  }
  const std::string subject = absl::StrCat("tenant:", spec.tenant);
  if (tenant.limits.max_requests != 0 && tenant.open >= tenant.limits.max_requests) {
    return Exhausted("TENANT_REQUESTS", subject,
                     absl::StrCat("the tenant has ", tenant.open, " open requests, its limit"),
                     DrainTime());
  }
  if (const absl::Duration wait = tenant.bucket.TimeUntil(spec.turns, now);
      wait > absl::ZeroDuration()) {
    return Exhausted("TENANT_RATE", subject,
                     absl::StrCat("the tenant's rate limit is ", tenant.limits.turns_per_second,
                                  " volumes a second"),
                     wait);
  }
  // With a free worker even a doubtful deadline is tried, which also keeps the measure fresh. What
  // was never measured counts as nothing: other models' times say little about this one's.
  const absl::Duration turn =
      service_times_.Measured(spec.service_key).value_or(absl::ZeroDuration());
  if (expected_wait > absl::ZeroDuration() &&
      now + expected_wait + spec.turns * turn > spec.deadline) {
    return Exhausted("DEADLINE_UNREACHABLE", "queue:wait",
                     absl::StrCat("the deadline cannot be met: the queue takes about ",
                                  absl::FormatDuration(expected_wait)),
                     expected_wait);
  }
  return absl::OkStatus();
}

absl::StatusOr<Admission> Scheduler::Submit(TaskSpec spec, std::shared_ptr<Task> task) {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = options_.clock->Now();
  Tenant& tenant = FindTenant(spec.tenant);
  const absl::Duration expected_wait = ExpectedWait(spec, now);
  if (absl::Status refused = CheckAdmission(spec, tenant, now, expected_wait); !refused.ok()) {
    ++tenant.refused;
    return refused;
  }
  tenant.bucket.Take(spec.turns, now);
  ++tenant.open;
  bytes_ += spec.bytes;
  const TaskId id = spec.id;
  if (spec.deadline != absl::InfiniteFuture()) {
    deadlines_.emplace(spec.deadline, id);
    if (deadlines_.begin()->second == id) timer_.SignalAll();
  }
  Open& open = open_[id];
  open.spec = std::move(spec);
  open.task = std::move(task);
  open.admitted = now;
  open.expected_wait = expected_wait;
  Enqueue(id, open, now);
  return Admission{id, expected_wait};
}

void Scheduler::Enqueue(TaskId id, Open& open, absl::Time now) {
  open.state = State::kWaiting;
  open.resume_pending = false;
  // A task never measured still weighs something, or shares would not hold.
  const absl::Duration work = std::max(TurnEstimate(open.spec), absl::Milliseconds(1));
  queue_.Push({id, open.spec.tenant, open.spec.priority, now, work});
  work_.Signal();
}

Scheduler::Ended Scheduler::Close(TaskId id, const absl::Status& status) {
  const auto it = open_.find(id);
  Open& open = it->second;
  if (open.state == State::kWaiting) queue_.Remove(id);
  if (open.turn != nullptr) open.turn->Interrupt(status);
  deadlines_.erase({open.spec.deadline, id});
  bytes_ -= open.spec.bytes;
  Tenant& tenant = FindTenant(open.spec.tenant);
  --tenant.open;
  if (status.ok()) ++tenant.completed;
  Ended ended{std::move(open.task), status};
  open_.erase(it);
  if (open_.empty()) idle_.SignalAll();
  return ended;
}

void Scheduler::End(TaskId id, const absl::Status& status) {
  Ended ended;
  {
    absl::MutexLock lock(&mutex_);
    if (open_.find(id) == open_.end()) return;
    ended = Close(id, status);
  }
  ended.task->OnEnd(ended.status);
}

void Scheduler::Resume(TaskId id) {
  absl::MutexLock lock(&mutex_);
  const auto it = open_.find(id);
  if (it == open_.end()) return;
  Open& open = it->second;
  if (open.state == State::kParked) {
    Enqueue(id, open, options_.clock->Now());
  } else if (open.state == State::kRunning) {
    open.resume_pending = true;
  }
}

void Scheduler::Drain() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
}

bool Scheduler::AwaitIdle(absl::Time until) {
  absl::MutexLock lock(&mutex_);
  while (!open_.empty() && options_.clock->Now() < until) {
    options_.clock->WaitUntil(idle_, mutex_, until);
  }
  return open_.empty();
}

void Scheduler::Stop(const absl::Status& status) {
  std::vector<Ended> ended;
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    stopping_ = true;
    while (!open_.empty()) ended.push_back(Close(open_.begin()->first, status));
    work_.SignalAll();
    timer_.SignalAll();
  }
  for (const Ended& end : ended) end.task->OnEnd(end.status);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

int Scheduler::UsableWorkers() const {
  absl::MutexLock lock(&mutex_);
  return CountUsable();
}

SchedulerSnapshot Scheduler::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = options_.clock->Now();
  SchedulerSnapshot snapshot;
  snapshot.draining = draining_;
  snapshot.open = static_cast<uint32_t>(open_.size());
  snapshot.waiting = static_cast<uint32_t>(queue_.size());
  snapshot.bytes = bytes_;
  TaskSpec ordinary;
  snapshot.expected_wait = ExpectedWait(ordinary, now);
  snapshot.backlog = (queue_.work() + RemainingOfRunning(now)) / std::max(1, CountUsable());
  for (size_t i = 0; i < workers_.size(); ++i) {
    const Worker& worker = workers_[i];
    const bool busy = worker.task_id != 0;
    snapshot.workers.push_back({options_.workers[i], worker.state, busy ? worker.task_name : "",
                                busy ? now - worker.since : absl::ZeroDuration()});
    snapshot.running += busy ? 1 : 0;
  }
  snapshot.parked = 0;
  for (const auto& [id, open] : open_) snapshot.parked += open.state == State::kParked ? 1 : 0;
  for (const auto& [name, tenant] : tenants_) {
    const uint32_t waiting = tenant.open > tenant.running ? tenant.open - tenant.running : 0;
    snapshot.tenants[name] = {waiting, tenant.running, tenant.completed, tenant.refused};
  }
  return snapshot;
}

}  // namespace synthvol::server
