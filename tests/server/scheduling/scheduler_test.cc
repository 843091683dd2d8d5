#include "server/scheduling/scheduler.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/scheduling/annotated_status.h"
#include "tests/server/scheduling/fake_clock.h"

namespace synthvol::server {
namespace {

// A task whose turns are a function of the test; remembers how it ended.
class TestTask final : public Task {
 public:
  explicit TestTask(std::function<TurnResult(Turn&)> run) : run_(std::move(run)) {}

  TurnResult Run(Turn& turn) override {
    ++runs;
    return run_(turn);
  }
  void OnEnd(const absl::Status& s) override {
    ++ends;
    {
      absl::MutexLock lock(&mutex_);
      status_ = s;
    }
    ended.Notify();
  }
  absl::Status status() const {
    absl::MutexLock lock(&mutex_);
    return status_;
  }

  std::atomic<int> runs{0};
  std::atomic<int> ends{0};
  absl::Notification ended;

 private:
  const std::function<TurnResult(Turn&)> run_;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

std::shared_ptr<TestTask> Quick() {
  return std::make_shared<TestTask>([](Turn&) { return TurnResult(); });
}

// A task that runs until it is interrupted or `release` is notified.
std::shared_ptr<TestTask> Blocking(absl::Notification* started, absl::Notification* release) {
  return std::make_shared<TestTask>([=](Turn& turn) -> TurnResult {
    if (!started->HasBeenNotified()) started->Notify();
    while (!release->HasBeenNotified()) {
      if (absl::Status status = turn.Check(); !status.ok()) {
        return {TurnResult::Next::kDone, status};
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
    return {};
  });
}

SchedulerOptions Options(int workers = 1) {
  SchedulerOptions options;
  options.workers = std::vector<std::string>(workers, std::string("cpu"));
  return options;
}

TaskSpec Spec(Scheduler& scheduler, const std::string& tenant = "t") {
  TaskSpec spec;
  spec.id = scheduler.NewTaskId();
  spec.tenant = tenant;
  spec.service_key = "k";
  return spec;
}

// A scheduler whose only worker is busy with a task that the destructor releases.
class Occupied {
 public:
  explicit Occupied(SchedulerOptions options = Options())
      : scheduler(std::move(options)), blocker(Blocking(&started_, &release_)) {
    EXPECT_TRUE(scheduler.Submit(Spec(scheduler, "blocker"), blocker).ok());
    started_.WaitForNotification();
  }
  ~Occupied() { Release(); }
  void Release() {
    if (!release_.HasBeenNotified()) release_.Notify();
  }

 private:
  absl::Notification started_;
  absl::Notification release_;

 public:
  Scheduler scheduler;
  std::shared_ptr<TestTask> blocker;
};

TEST(SchedulerTest, RunsATaskAndTellsItsEndOnce) {
  Scheduler scheduler(Options());
  auto task = Quick();
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), task).ok());
  task->ended.WaitForNotification();
  EXPECT_TRUE(task->status().ok());
  EXPECT_TRUE(scheduler.AwaitIdle(absl::InfiniteFuture()));
  EXPECT_EQ(task->ends, 1);
  EXPECT_EQ(scheduler.Snapshot().tenants.at("t").completed, 1u);
}

TEST(SchedulerTest, AFullQueueRefusesAtOnceAndKeepsNothing) {
  SchedulerOptions options = Options();
  options.max_requests = 2;
  Occupied occupied(std::move(options));
  ASSERT_TRUE(occupied.scheduler.Submit(Spec(occupied.scheduler), Quick()).ok());
  auto refused = Quick();
  const auto admission = occupied.scheduler.Submit(Spec(occupied.scheduler), refused);
  EXPECT_EQ(admission.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(admission.status()), "QUEUE_FULL");
  EXPECT_EQ(QuotaSubjectOf(admission.status()), "queue:requests");
  EXPECT_GE(RetryAfterOf(admission.status()), absl::Milliseconds(100));
  EXPECT_EQ(refused.use_count(), 1);
  EXPECT_EQ(refused->ends, 0);
}

TEST(SchedulerTest, BytesAreBoundedAndComeBack) {
  SchedulerOptions options = Options();
  options.max_bytes = 1000;
  Scheduler scheduler(std::move(options));
  TaskSpec big = Spec(scheduler);
  big.bytes = 1001;
  // It will never fit, so there is no time to come back at.
  const absl::Status never = scheduler.Submit(big, Quick()).status();
  EXPECT_EQ(ReasonOf(never), "REQUEST_BYTES");
  EXPECT_EQ(QuotaSubjectOf(never), "queue:bytes");
  EXPECT_FALSE(RetryAfterOf(never).has_value());
  TaskSpec holding = Spec(scheduler);
  holding.bytes = 900;
  const auto park = [](Turn&) { return TurnResult{TurnResult::Next::kPark, absl::OkStatus()}; };
  ASSERT_TRUE(scheduler.Submit(holding, std::make_shared<TestTask>(park)).ok());
  TaskSpec next = Spec(scheduler);
  next.bytes = 101;
  const absl::Status later = scheduler.Submit(next, Quick()).status();
  EXPECT_EQ(ReasonOf(later), "QUEUE_BYTES");
  EXPECT_TRUE(RetryAfterOf(later).has_value());
  scheduler.End(holding.id, absl::CancelledError("test"));
  for (int i = 0; i < 5; ++i) {
    TaskSpec spec = Spec(scheduler);
    spec.bytes = 1000;
    auto task = Quick();
    ASSERT_TRUE(scheduler.Submit(spec, task).ok());
    task->ended.WaitForNotification();
    EXPECT_TRUE(scheduler.AwaitIdle(absl::InfiniteFuture()));
  }
  EXPECT_EQ(scheduler.Snapshot().bytes, 0u);
}

TEST(SchedulerTest, TenantLimitsHoldForTheirTenantOnly) {
  SchedulerOptions options = Options();
  options.tenants["small"].max_requests = 1;
  options.tenants["slow"].turns_per_second = 0.001;
  options.tenants["slow"].burst_turns = 1;
  Occupied occupied(std::move(options));
  Scheduler& scheduler = occupied.scheduler;
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler, "small"), Quick()).ok());
  EXPECT_EQ(ReasonOf(scheduler.Submit(Spec(scheduler, "small"), Quick()).status()),
            "TENANT_REQUESTS");
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler, "slow"), Quick()).ok());
  const auto limited = scheduler.Submit(Spec(scheduler, "slow"), Quick());
  EXPECT_EQ(ReasonOf(limited.status()), "TENANT_RATE");
  EXPECT_EQ(QuotaSubjectOf(limited.status()), "tenant:slow");
  EXPECT_TRUE(scheduler.Submit(Spec(scheduler, "other"), Quick()).ok());
  EXPECT_EQ(scheduler.Snapshot().tenants.at("slow").refused, 1u);
}

TEST(SchedulerTest, AWaitingTaskExpiresAtItsDeadlineAndNeverStarts) {
  FakeClock clock;
  SchedulerOptions options = Options();
  options.clock = &clock;
  options.watchdog_timeout = absl::Hours(10);
  Occupied occupied(std::move(options));
  TaskSpec spec = Spec(occupied.scheduler);
  spec.deadline = clock.Now() + absl::Seconds(5);
  auto task = Quick();
  ASSERT_TRUE(occupied.scheduler.Submit(spec, task).ok());
  clock.Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  absl::SleepFor(absl::Milliseconds(30));
  EXPECT_FALSE(task->ended.HasBeenNotified());
  clock.Advance(absl::Nanoseconds(1));
  // The worker is still busy: the timer ends it, not the dequeue.
  task->ended.WaitForNotification();
  EXPECT_EQ(task->status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(occupied.scheduler.Snapshot().waiting, 0u);
  occupied.Release();
  EXPECT_TRUE(occupied.scheduler.AwaitIdle(absl::InfiniteFuture()));
  EXPECT_EQ(task->runs, 0);
  EXPECT_EQ(task->ends, 1);
}

TEST(SchedulerTest, ARunningTaskIsToldAtItsDeadline) {
  Scheduler scheduler(Options());
  absl::Notification started, never;
  auto task = Blocking(&started, &never);
  TaskSpec spec = Spec(scheduler);
  spec.deadline = absl::Now() + absl::Milliseconds(50);
  ASSERT_TRUE(scheduler.Submit(spec, task).ok());
  task->ended.WaitForNotification();
  EXPECT_EQ(task->status().code(), absl::StatusCode::kDeadlineExceeded);
  // Its worker comes back at the next check.
  auto next = Quick();
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), next).ok());
  next->ended.WaitForNotification();
  EXPECT_EQ(task->ends, 1);
}

TEST(SchedulerTest, ADeadlineThatTheQueueMakesImpossibleIsRefusedAtOnce) {
  FakeClock clock;
  SchedulerOptions options = Options();
  options.clock = &clock;
  options.watchdog_timeout = absl::Hours(10);
  Scheduler scheduler(std::move(options));
  // Teaches it that such a turn takes ten seconds.
  auto measured = std::make_shared<TestTask>([&clock](Turn&) {
    clock.Advance(absl::Seconds(10));
    return TurnResult();
  });
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), measured).ok());
  measured->ended.WaitForNotification();
  ASSERT_TRUE(scheduler.AwaitIdle(absl::InfiniteFuture()));

  absl::Notification started, release;
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), Blocking(&started, &release)).ok());
  started.WaitForNotification();
  TaskSpec hopeless = Spec(scheduler);
  hopeless.deadline = clock.Now() + absl::Seconds(15);
  const auto refused = scheduler.Submit(hopeless, Quick());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused.status()), "DEADLINE_UNREACHABLE");
  EXPECT_EQ(RetryAfterOf(refused.status()), absl::Seconds(10));
  TaskSpec feasible = Spec(scheduler);
  feasible.deadline = clock.Now() + absl::Seconds(25);
  const auto admitted = scheduler.Submit(feasible, Quick());
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  EXPECT_EQ(admitted->expected_wait, absl::Seconds(10));
  // A tenant's own queue counts in full, though another tenant would pass it.
  EXPECT_EQ(scheduler.Snapshot().backlog, absl::Seconds(20));
  release.Notify();
}

TEST(SchedulerTest, APassedDeadlineIsRefused) {
  Scheduler scheduler(Options());
  TaskSpec spec = Spec(scheduler);
  spec.deadline = absl::Now() - absl::Seconds(1);
  EXPECT_EQ(scheduler.Submit(spec, Quick()).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(SchedulerTest, CancellationRemovesWaitingWorkAtOnce) {
  Occupied occupied;
  auto task = Quick();
  const TaskSpec spec = Spec(occupied.scheduler);
  ASSERT_TRUE(occupied.scheduler.Submit(spec, task).ok());
  occupied.scheduler.End(spec.id, absl::CancelledError("gone"));
  EXPECT_TRUE(task->ended.HasBeenNotified());
  EXPECT_EQ(occupied.scheduler.Snapshot().waiting, 0u);
  occupied.scheduler.End(spec.id, absl::CancelledError("again"));
  EXPECT_EQ(task->ends, 1);
  EXPECT_EQ(task->runs, 0);
}

TEST(SchedulerTest, CancellationFreesARunningWorkersSlot) {
  Scheduler scheduler(Options());
  absl::Notification started, never;
  auto task = Blocking(&started, &never);
  const TaskSpec spec = Spec(scheduler);
  ASSERT_TRUE(scheduler.Submit(spec, task).ok());
  started.WaitForNotification();
  scheduler.End(spec.id, absl::CancelledError("gone"));
  EXPECT_EQ(task->status().code(), absl::StatusCode::kCancelled);
  auto next = Quick();
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), next).ok());
  next->ended.WaitForNotification();
  EXPECT_TRUE(next->status().ok());
}

TEST(SchedulerTest, TasksOfSeveralTurnsTakeTurns) {
  Occupied occupied;
  std::vector<int> order;
  const auto turns = [&order](int name, int count) {
    auto left = std::make_shared<int>(count);
    return std::make_shared<TestTask>([&order, name, left](Turn&) -> TurnResult {
      absl::SleepFor(absl::Milliseconds(2));
      order.push_back(name);
      return {--*left == 0 ? TurnResult::Next::kDone : TurnResult::Next::kAgain, absl::OkStatus()};
    });
  };
  auto a = turns(1, 3);
  auto b = turns(2, 3);
  ASSERT_TRUE(occupied.scheduler.Submit(Spec(occupied.scheduler), a).ok());
  ASSERT_TRUE(occupied.scheduler.Submit(Spec(occupied.scheduler), b).ok());
  occupied.Release();
  a->ended.WaitForNotification();
  b->ended.WaitForNotification();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 1, 2, 1, 2}));
}

TEST(SchedulerTest, AParkedTaskHoldsNoWorkerUntilItIsResumed) {
  Scheduler scheduler(Options());
  std::atomic<bool> parked{false};
  auto task = std::make_shared<TestTask>([&parked](Turn&) -> TurnResult {
    return {parked.exchange(true) ? TurnResult::Next::kDone : TurnResult::Next::kPark,
            absl::OkStatus()};
  });
  const TaskSpec spec = Spec(scheduler);
  ASSERT_TRUE(scheduler.Submit(spec, task).ok());
  while (scheduler.Snapshot().parked == 0) absl::SleepFor(absl::Milliseconds(1));
  auto other = Quick();
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), other).ok());
  other->ended.WaitForNotification();
  EXPECT_FALSE(task->ended.HasBeenNotified());
  scheduler.Resume(spec.id);
  task->ended.WaitForNotification();
  EXPECT_EQ(task->runs, 2);
}

TEST(SchedulerTest, AResumeThatComesBeforeParkingIsNotLost) {
  Scheduler scheduler(Options());
  const TaskSpec spec = Spec(scheduler);
  std::atomic<int> turn_number{0};
  auto task = std::make_shared<TestTask>([&](Turn&) -> TurnResult {
    if (turn_number++ > 0) return {};
    scheduler.Resume(spec.id);
    return {TurnResult::Next::kPark, absl::OkStatus()};
  });
  ASSERT_TRUE(scheduler.Submit(spec, task).ok());
  task->ended.WaitForNotification();
  EXPECT_EQ(task->runs, 2);
}

TEST(SchedulerTest, AParkedTaskStillExpires) {
  Scheduler scheduler(Options());
  auto task = std::make_shared<TestTask>([](Turn&) -> TurnResult {
    return {TurnResult::Next::kPark, absl::OkStatus()};
  });
  TaskSpec spec = Spec(scheduler);
  spec.deadline = absl::Now() + absl::Milliseconds(50);
  ASSERT_TRUE(scheduler.Submit(spec, task).ok());
  task->ended.WaitForNotification();
  EXPECT_EQ(task->status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(SchedulerTest, DrainingRefusesNewWorkAndFinishesOld) {
  Occupied occupied;
  auto waiting = Quick();
  ASSERT_TRUE(occupied.scheduler.Submit(Spec(occupied.scheduler), waiting).ok());
  occupied.scheduler.Drain();
  const auto refused = occupied.scheduler.Submit(Spec(occupied.scheduler), Quick());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused.status()), "DRAINING");
  EXPECT_TRUE(RetryAfterOf(refused.status()).has_value());
  EXPECT_FALSE(occupied.scheduler.AwaitIdle(absl::Now() + absl::Milliseconds(20)));
  occupied.Release();
  EXPECT_TRUE(occupied.scheduler.AwaitIdle(absl::InfiniteFuture()));
  EXPECT_TRUE(waiting->status().ok());
}

TEST(SchedulerTest, StopEndsEverythingOnce) {
  Occupied occupied;
  std::vector<std::shared_ptr<TestTask>> tasks;
  for (int i = 0; i < 20; ++i) {
    tasks.push_back(Quick());
    ASSERT_TRUE(occupied.scheduler.Submit(Spec(occupied.scheduler), tasks.back()).ok());
  }
  occupied.scheduler.Stop(absl::UnavailableError("stop"));
  for (const auto& task : tasks) {
    EXPECT_EQ(task->ends, 1);
    EXPECT_EQ(task->runs, 0);
    EXPECT_EQ(task->status().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(occupied.blocker->ends, 1);
}

TEST(SchedulerTest, AFaultyDeviceIsRebuiltWhileOthersServe) {
  std::atomic<int> rebuilds{0};
  SchedulerOptions options = Options(2);
  options.rebuild_pause = absl::Milliseconds(1);
  options.rebuild = [&rebuilds](int) {
    return ++rebuilds < 3 ? absl::InternalError("not yet") : absl::OkStatus();
  };
  Scheduler scheduler(std::move(options));
  auto faulty = std::make_shared<TestTask>([](Turn&) -> TurnResult {
    return {TurnResult::Next::kDone, absl::InternalError("device"), /*device_fault=*/true};
  });
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), faulty).ok());
  faulty->ended.WaitForNotification();
  auto other = Quick();
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), other).ok());
  other->ended.WaitForNotification();
  while (rebuilds < 3) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(scheduler.UsableWorkers(), 2);
}

TEST(SchedulerTest, WithTheLastDeviceGivenUpWorkIsRefused) {
  SchedulerOptions options = Options();
  options.rebuild_pause = absl::Milliseconds(1);
  options.rebuild_attempts = 2;
  options.rebuild = [](int) { return absl::InternalError("dead"); };
  std::atomic<int> changes{0};
  options.observer.on_workers_changed = [&changes] { ++changes; };
  Scheduler scheduler(std::move(options));
  auto faulty = std::make_shared<TestTask>([](Turn&) -> TurnResult {
    return {TurnResult::Next::kDone, absl::InternalError("device"), /*device_fault=*/true};
  });
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), faulty).ok());
  while (scheduler.UsableWorkers() > 0) absl::SleepFor(absl::Milliseconds(1));
  const auto refused = scheduler.Submit(Spec(scheduler), Quick());
  EXPECT_EQ(ReasonOf(refused.status()), "NO_WORKER");
  while (changes < 2) absl::SleepFor(absl::Milliseconds(1));
}

TEST(SchedulerTest, AStuckDeviceIsTakenOutUntilItAnswers) {
  SchedulerOptions options = Options(2);
  options.watchdog_timeout = absl::Milliseconds(50);
  Scheduler scheduler(std::move(options));
  absl::Notification release;
  auto stuck = std::make_shared<TestTask>([&release](Turn&) {
    release.WaitForNotification();
    return TurnResult();
  });
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), stuck).ok());
  stuck->ended.WaitForNotification();
  EXPECT_EQ(ReasonOf(stuck->status()), "DEVICE_STUCK");
  EXPECT_EQ(scheduler.UsableWorkers(), 1);
  auto other = Quick();
  ASSERT_TRUE(scheduler.Submit(Spec(scheduler), other).ok());
  other->ended.WaitForNotification();
  release.Notify();
  while (scheduler.UsableWorkers() < 2) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(stuck->ends, 1);
}

// Everything at once: each task ends exactly once, and nothing is left.
TEST(SchedulerTest, AccountsForEveryTaskUnderRandomCancelsAndDeadlines) {
  SchedulerOptions options = Options(3);
  options.max_requests = 200;
  options.tenants["b"].max_running = 1;
  Scheduler scheduler(std::move(options));
  const std::array<std::string, 3> kTenants = {"a", "b", "c"};
  std::vector<std::shared_ptr<TestTask>> admitted;
  absl::Mutex mutex;
  const auto client = [&](int seed) {
    unsigned state = static_cast<unsigned>(seed);
    const auto random = [&state] { return state = state * 1664525u + 1013904223u; };
    for (int i = 0; i < 500; ++i) {
      auto left = std::make_shared<int>(1 + random() / 1000 % 3);
      auto task = std::make_shared<TestTask>([left](Turn& turn) -> TurnResult {
        absl::SleepFor(absl::Microseconds(50));
        if (absl::Status status = turn.Check(); !status.ok()) {
          return {TurnResult::Next::kDone, status};
        }
        return {--*left == 0 ? TurnResult::Next::kDone : TurnResult::Next::kAgain,
                absl::OkStatus()};
      });
      TaskSpec spec = Spec(scheduler, kTenants[i % 3]);
      spec.priority = static_cast<Priority>(random() / 1000 % 3);
      if (random() / 1000 % 4 == 0) {
        spec.deadline = absl::Now() + absl::Microseconds(random() / 1000 % 5000);
      }
      if (scheduler.Submit(spec, task).ok()) {
        absl::MutexLock lock(&mutex);
        admitted.push_back(task);
      }
      if (random() / 1000 % 4 == 0) scheduler.End(spec.id, absl::CancelledError("random"));
    }
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) clients.emplace_back(client, i + 1);
  for (std::thread& thread : clients) thread.join();
  EXPECT_TRUE(scheduler.AwaitIdle(absl::Now() + absl::Seconds(60)));
  scheduler.Stop(absl::UnavailableError("stop"));
  EXPECT_GT(admitted.size(), 100u);
  for (const auto& task : admitted) EXPECT_EQ(task->ends, 1);
  const SchedulerSnapshot snapshot = scheduler.Snapshot();
  EXPECT_EQ(snapshot.open, 0u);
  EXPECT_EQ(snapshot.bytes, 0u);
  EXPECT_EQ(snapshot.waiting, 0u);
}

}  // namespace
}  // namespace synthvol::server
