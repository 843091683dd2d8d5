#include "client/cli/load.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace synthvol::client {
namespace {

// Counts and throws away.
class CountingSink : public VolumeSink {
 public:
  absl::Status Begin(const v1::VolumeHeader& /*header*/) override { return absl::OkStatus(); }
  absl::Status Data(const VolumeData& data) override {
    if (bytes_ == 0) first_data_ = absl::Now();
    bytes_ += data.data.size();
    return absl::OkStatus();
  }
  absl::Status End(const v1::VolumeTrailer& /*trailer*/, const std::string& /*sha256*/) override {
    ++volumes_;
    return absl::OkStatus();
  }
  uint64_t bytes() const { return bytes_; }
  uint64_t volumes() const { return volumes_; }
  absl::Time first_data() const { return first_data_; }

 private:
  uint64_t bytes_ = 0;
  uint64_t volumes_ = 0;
  absl::Time first_data_;
};

// Hands out the requests: when each is due and with which seed.
class Schedule {
 public:
  Schedule(const LoadOptions& options, uint64_t seed, uint64_t volumes)
      : options_(options),
        volumes_(volumes),
        seed_(seed),
        begin_(absl::Now()),
        due_(begin_),
        random_(options.random_seed) {}

  struct Turn {
    absl::Time due;
    uint64_t seed = 0;
  };

  // Returns the next turn, nothing when the load is over. A closed loop's is due now.
  std::optional<Turn> Next() {
    const absl::MutexLock lock(&mutex_);
    const absl::Time now = absl::Now();
    if (options_.rate > 0) {
      due_ += absl::Seconds(std::exponential_distribution<>(options_.rate)(random_));
    } else {
      due_ = now;
    }
    const bool over = (options_.requests > 0 && given_ == options_.requests) ||
                      due_ - begin_ >= options_.duration;
    if (over) return std::nullopt;
    const uint64_t seed = (seed_ + given_ * volumes_) % (uint64_t{1} << 31);
    ++given_;
    return Turn{due_, seed};
  }

  absl::Time begin() const { return begin_; }

 private:
  const LoadOptions options_;
  const uint64_t volumes_;
  const uint64_t seed_;
  const absl::Time begin_;
  absl::Mutex mutex_;
  absl::Time due_ ABSL_GUARDED_BY(mutex_);
  uint64_t given_ ABSL_GUARDED_BY(mutex_) = 0;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

double Percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

LoadReport RunLoad(Client& client, const v1::SynthesizeRequest& request, const LoadOptions& options,
                   const CallOptions& call) {
  for (uint64_t i = 0; i < options.warmup; ++i) {
    CountingSink sink;
    // Whether it works is for the counted requests to say.
    client.Synthesize(request, sink, call).IgnoreError();
  }
  Schedule schedule(options, request.seed(), request.count());
  absl::Mutex mutex;
  LoadReport report;
  const auto work = [&] {
    while (const std::optional<Schedule::Turn> turn = schedule.Next()) {
      if (call.cancellation != nullptr && call.cancellation->cancelled()) return;
      absl::SleepFor(turn->due - absl::Now());
      v1::SynthesizeRequest next = request;
      next.set_seed(turn->seed);
      CountingSink sink;
      const absl::Time sent = absl::Now();
      const absl::Status status = client.Synthesize(next, sink, call);
      const absl::Time end = absl::Now();
      const absl::MutexLock lock(&mutex);
      ++report.sent;
      report.bytes += sink.bytes();
      report.volumes += sink.volumes();
      if (!status.ok()) {
        ++report.errors[absl::StatusCodeToString(status.code())];
        if (absl::IsResourceExhausted(status)) {
          report.refusals.push_back(absl::ToDoubleSeconds(end - sent));
        }
        continue;
      }
      ++report.succeeded;
      report.latencies.push_back(absl::ToDoubleSeconds(end - turn->due));
      report.first_slices.push_back(absl::ToDoubleSeconds(sink.first_data() - turn->due));
    }
  };
  std::vector<std::thread> workers;
  workers.reserve(static_cast<size_t>(options.concurrency));
  for (int i = 0; i < options.concurrency; ++i) workers.emplace_back(work);
  for (std::thread& worker : workers) worker.join();
  report.seconds = absl::ToDoubleSeconds(absl::Now() - schedule.begin());
  std::sort(report.latencies.begin(), report.latencies.end());
  std::sort(report.first_slices.begin(), report.first_slices.end());
  std::sort(report.refusals.begin(), report.refusals.end());
  return report;
}

}  // namespace synthvol::client
