// What a decision of the scheduler costs while many requests wait: `queue_bench`.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/scheduling/scheduler.h"

namespace synthvol::server {
namespace {

constexpr uint32_t kTenants = 16;

// Holds its worker until told to go on, or does nothing.
class BenchTask final : public Task {
 public:
  explicit BenchTask(absl::Notification* hold) : hold_(hold) {}
  TurnResult Run(Turn& /*turn*/) override {
    if (hold_ != nullptr) hold_->WaitForNotification();
    return {};
  }
  void OnEnd(const absl::Status& /*status*/) override {}

 private:
  absl::Notification* const hold_;
};

// A scheduler whose one worker is held, so that what is submitted waits.
class Held {
 public:
  explicit Held(int64_t waiting) : scheduler_(Options()) {
    Submit(&hold_);
    while (scheduler_.Snapshot().running == 0) absl::SleepFor(absl::Milliseconds(1));
    for (int64_t i = 0; i < waiting; ++i) Submit(nullptr);
  }
  ~Held() { Release(); }

  TaskId Submit(absl::Notification* hold) {
    TaskSpec spec;
    spec.id = scheduler_.NewTaskId();
    spec.tenant = absl::StrCat("tenant-", spec.id % kTenants);
    spec.priority = spec.id % 3 == 0 ? Priority::kHigh : Priority::kNormal;
    spec.bytes = 1;
    spec.service_key = "model";
    spec.deadline = absl::Now() + absl::Hours(1 + spec.id % 24);
    const TaskId id = spec.id;
    if (!scheduler_.Submit(std::move(spec), std::make_shared<BenchTask>(hold)).ok()) std::abort();
    return id;
  }

  void Release() {
    if (!hold_.HasBeenNotified()) hold_.Notify();
  }
  Scheduler& scheduler() { return scheduler_; }

 private:
  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.workers = {"cpu"};
    options.max_requests = 1 << 20;
    return options;
  }

  absl::Notification hold_;
  Scheduler scheduler_;
};

// One request comes and is cancelled while `range(0)` others wait.
void SubmitAndCancel(benchmark::State& state) {
  Held held(state.range(0));
  for ([[maybe_unused]] auto _ : state)
    held.scheduler().End(held.Submit(nullptr), absl::CancelledError("bench"));
}
BENCHMARK(SubmitAndCancel)->RangeMultiplier(10)->Range(10, 100000);

// The whole queue runs empty, with tasks that do nothing; time a task.
void TakeAll(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    state.PauseTiming();
    auto held = std::make_unique<Held>(state.range(0));
    state.ResumeTiming();
    held->Release();
    held->scheduler().AwaitIdle(absl::InfiniteFuture());
    state.PauseTiming();
    held.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(TakeAll)->RangeMultiplier(10)->Range(100, 100000)->UseRealTime();

}  // namespace
}  // namespace synthvol::server

BENCHMARK_MAIN();
