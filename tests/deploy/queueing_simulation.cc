// Puts Poisson arrivals of equal work through the real scheduler and prints the waits, so that the
// queueing formula of docs/operations.md can be compared with it (tests/deploy/replicas.py
// --check).
//
//   queueing_simulation WORKERS SERVICE_MILLISECONDS RATE_PER_SECOND COUNT
// prints: mean and 95th percentile of the wait in seconds, mean seconds that a worker was held.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/scheduling/scheduler.h"

namespace synthvol::server {
namespace {

// Holds its worker for a fixed time, as a generator does.
class FixedWork final : public Task {
 public:
  explicit FixedWork(absl::Duration duration) : duration_(duration) {}
  TurnResult Run(Turn& /*turn*/) override {
    absl::SleepFor(duration_);
    return {};
  }
  void OnEnd(const absl::Status& /*status*/) override {}

 private:
  const absl::Duration duration_;
};

// What the observer hears; thread-safe.
struct Samples {
  absl::Mutex mutex;
  std::vector<double> waits ABSL_GUARDED_BY(mutex);
  double held_seconds ABSL_GUARDED_BY(mutex) = 0.0;
};

int Simulate(int workers, double service_ms, double rate, int count) {
  Samples samples;
  SchedulerOptions options;
  options.workers.assign(workers, "simulated");
  options.max_requests = static_cast<uint32_t>(count);
  options.observer.on_start = [&samples](const TaskSpec&, absl::Duration waited, absl::Duration) {
    absl::MutexLock lock(&samples.mutex);
    samples.waits.push_back(absl::ToDoubleSeconds(waited));
  };
  options.observer.on_turn = [&samples](const TaskSpec&, absl::Duration held) {
    absl::MutexLock lock(&samples.mutex);
    samples.held_seconds += absl::ToDoubleSeconds(held);
  };
  Scheduler scheduler(std::move(options));
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(rate);
  absl::Time next = absl::Now();
  for (int i = 0; i < count; ++i) {
    next += absl::Seconds(gap(random));
    absl::SleepFor(next - absl::Now());
    TaskSpec spec;
    spec.id = scheduler.NewTaskId();
    spec.service_key = "work";
    const auto admission = scheduler.Submit(
        std::move(spec), std::make_shared<FixedWork>(absl::Milliseconds(1) * service_ms));
    if (!admission.ok()) {
      std::fprintf(stderr, "%s\n", std::string(admission.status().message()).c_str());
      return 1;
    }
  }
  scheduler.AwaitIdle(absl::Now() + absl::Minutes(1));
  absl::MutexLock lock(&samples.mutex);
  std::sort(samples.waits.begin(), samples.waits.end());
  double sum = 0.0;
  for (const double wait : samples.waits) sum += wait;
  const size_t n = samples.waits.size();
  std::printf("%.6f %.6f %.6f\n", sum / static_cast<double>(n), samples.waits[n * 95 / 100],
              samples.held_seconds / static_cast<double>(n));
  return 0;
}

}  // namespace
}  // namespace synthvol::server

int main(int argc, char** argv) {
  if (argc != 5 || std::atoi(argv[1]) < 1 || std::atof(argv[2]) <= 0 || std::atof(argv[3]) <= 0 ||
      std::atoi(argv[4]) < 20) {
    std::fprintf(stderr, "usage: queueing_simulation WORKERS SERVICE_MS RATE COUNT (20 or more)\n");
    return 2;
  }
  return synthvol::server::Simulate(std::atoi(argv[1]), std::atof(argv[2]), std::atof(argv[3]),
                                    std::atoi(argv[4]));
}
