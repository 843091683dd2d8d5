// Puts random arrivals through the real scheduler in simulated time and prints the waits, so that
// the queueing formula of docs/operations.md can be compared with it (tests/deploy/replicas.py
// --check). The same arguments give the same waits on any machine, however busy.
//
//   queueing_simulation WORKERS BUSY VARIATION COUNT
// Arrivals are independent of each other (Poisson), at such a rate that WORKERS are busy for BUSY
// of the time. Work takes one second on average with the coefficient of variation VARIATION (gamma
// distribution; 0: always one second). Prints mean and 95th percentile of the wait in seconds.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/scheduling/clock.h"
#include "server/scheduling/scheduler.h"

namespace synthvol::server {
namespace {

// A clock that stands until it is moved. Thread-safe.
class SimulatedClock final : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  // Nothing here has a deadline, so that a signal alone ends a wait; the limit lets the scheduler's
  // threads look around when they are to end.
  void WaitUntil(absl::CondVar& changed, absl::Mutex& mutex, absl::Time /*until*/) const override {
    changed.WaitWithTimeout(&mutex, absl::Milliseconds(100));
  }
  void MoveTo(absl::Time now) {
    absl::MutexLock lock(&mutex_);
    now_ = now;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch();
};

// What happens in simulated time: tasks come, are taken by workers, and end. Thread-safe.
class Simulation {
 public:
  explicit Simulation(int workers) : workers_(workers) {}

  const Clock* clock() const { return &clock_; }

  // Holds a worker until the simulated time has passed; called by the scheduler's workers.
  void Work(absl::Duration duration) {
    const absl::Time end = clock_.Now() + duration;
    absl::MutexLock lock(&mutex_);
    const int id = ++started_;
    ends_.emplace(end, id);
    const auto over = [this, id] { return released_ == id; };
    mutex_.Await(absl::Condition(&over));
  }

  // Notes that a task has come, before it is submitted.
  void Come() {
    absl::MutexLock lock(&mutex_);
    ++open_;
  }

  // Notes that a task has left the scheduler.
  void Leave() {
    absl::MutexLock lock(&mutex_);
    --open_;
  }

  // Lets everything happen that happens before `next`, in order.
  void AdvanceTo(absl::Time next) {
    absl::MutexLock lock(&mutex_);
    for (;;) {
      // Only when every worker that can have a task has taken it is it known what ends first.
      const auto settled = [this] {
        return static_cast<int>(ends_.size()) == std::min(workers_, open_);
      };
      mutex_.Await(absl::Condition(&settled));
      if (ends_.empty() || ends_.top().first > next) break;
      const auto [end, id] = ends_.top();
      ends_.pop();
      clock_.MoveTo(end);
      const int left = open_ - 1;
      released_ = id;
      const auto gone = [this, left] { return open_ <= left; };
      mutex_.Await(absl::Condition(&gone));
    }
    if (next != absl::InfiniteFuture()) clock_.MoveTo(next);
  }

 private:
  const int workers_;
  SimulatedClock clock_;
  absl::Mutex mutex_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  int started_ ABSL_GUARDED_BY(mutex_) = 0;
  int released_ ABSL_GUARDED_BY(mutex_) = 0;
  // When the tasks that workers hold will end, and their numbers.
  using End = std::pair<absl::Time, int>;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_ ABSL_GUARDED_BY(mutex_);
};

// Holds its worker for a given time.
class Work final : public Task {
 public:
  Work(Simulation* simulation, absl::Duration duration)
      : simulation_(simulation), duration_(duration) {}
  TurnResult Run(Turn& /*turn*/) override {
    simulation_->Work(duration_);
    return {};
  }
  void OnEnd(const absl::Status& /*status*/) override { simulation_->Leave(); }

 private:
  Simulation* const simulation_;
  const absl::Duration duration_;
};

// Draws the seconds of a task.
double DrawSeconds(double variation, std::mt19937_64& random) {
  if (variation == 0.0) return 1.0;
  const double square = variation * variation;
  return std::gamma_distribution<double>(1.0 / square, square)(random);
}

int Simulate(int workers, double busy, double variation, int count) {
  Simulation simulation(workers);
  absl::Mutex mutex;
  std::vector<double> waits;
  SchedulerOptions options;
  options.clock = simulation.clock();
  options.workers.assign(workers, "simulated");
  options.max_requests = static_cast<uint32_t>(count);
  options.watchdog_timeout = absl::Hours(24) * count;
  options.observer.on_start = [&](const TaskSpec&, absl::Duration waited, absl::Duration) {
    absl::MutexLock lock(&mutex);
    waits.push_back(absl::ToDoubleSeconds(waited));
  };
  Scheduler scheduler(std::move(options));
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(busy * workers);
  absl::Time next = absl::UnixEpoch();
  for (int i = 0; i < count; ++i) {
    next += absl::Seconds(gap(random));
    const absl::Duration duration = absl::Seconds(DrawSeconds(variation, random));
    simulation.AdvanceTo(next);
    TaskSpec spec;
    spec.id = scheduler.NewTaskId();
    spec.service_key = "work";
    simulation.Come();
    const auto admission =
        scheduler.Submit(std::move(spec), std::make_shared<Work>(&simulation, duration));
    if (!admission.ok()) {
      std::fprintf(stderr, "%s\n", std::string(admission.status().message()).c_str());
      return 1;
    }
  }
  simulation.AdvanceTo(absl::InfiniteFuture());
  absl::MutexLock lock(&mutex);
  std::sort(waits.begin(), waits.end());
  double sum = 0.0;
  for (const double wait : waits) sum += wait;
  std::printf("%.4f %.4f\n", sum / static_cast<double>(waits.size()),
              waits[waits.size() * 95 / 100]);
  return 0;
}

}  // namespace
}  // namespace synthvol::server

int main(int argc, char** argv) {
  const int workers = argc == 5 ? std::atoi(argv[1]) : 0;
  const double busy = argc == 5 ? std::atof(argv[2]) : 0.0;
  const double variation = argc == 5 ? std::atof(argv[3]) : -1.0;
  const int count = argc == 5 ? std::atoi(argv[4]) : 0;
  if (workers < 1 || busy <= 0 || busy >= 1 || variation < 0 || count < 20) {
    std::fprintf(stderr,
                 "usage: queueing_simulation WORKERS BUSY VARIATION COUNT; expected 1 or more "
                 "workers, 0 < BUSY < 1, VARIATION 0 or more, COUNT 20 or more\n");
    return 2;
  }
  return synthvol::server::Simulate(workers, busy, variation, count);
}
