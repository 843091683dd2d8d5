#include "server/metrics/server_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <exception>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/version.h"

namespace synthvol::server {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;

// From a tiny model on an idle machine to a 512 on a busy CPU.
const Histogram::BucketBoundaries kSeconds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                              2.5,   5,    10,    30,   60,  120,  300};
const Histogram::BucketBoundaries kBytes = {1 << 16, 1 << 20, 1 << 24, 1 << 26,
                                            1 << 28, 1 << 30, 1e10};

// A gauge family of a scrape.
MetricFamily GaugeFamily(const std::string& name, const std::string& help) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = prometheus::MetricType::Gauge;
  return family;
}

void AddValue(MetricFamily& family, double value, const std::string& label = "",
              const std::string& label_value = "") {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  if (!label.empty()) metric.label.push_back({label, label_value});
  family.metric.push_back(std::move(metric));
}

MetricFamily Gauge(const std::string& name, const std::string& help, double value) {
  MetricFamily family = GaugeFamily(name, help);
  AddValue(family, value);
  return family;
}

MetricFamily Counted(const std::string& name, const std::string& help, double value) {
  MetricFamily family = GaugeFamily(name, help);
  family.type = prometheus::MetricType::Counter;
  prometheus::ClientMetric metric;
  metric.counter.value = value;
  family.metric.push_back(std::move(metric));
  return family;
}

// Turns the sampler's values into families at each scrape.
class SampledGauges final : public prometheus::Collectable {
 public:
  void SetSampler(std::function<GaugeSample()> sample) {
    absl::MutexLock lock(&mutex_);
    sample_ = std::move(sample);
  }

  std::vector<MetricFamily> Collect() const override {
    absl::MutexLock lock(&mutex_);
    if (!sample_) return {};
    const GaugeSample s = sample_();
    std::vector<MetricFamily> families = {
        Gauge("synthvol_queue_requests", "Requests that wait for a worker.", s.queued),
        Gauge("synthvol_running_requests", "Requests that a worker renders.", s.running),
        Gauge("synthvol_parked_requests", "Requests that wait for their reader.", s.parked),
        Gauge("synthvol_queue_bytes", "Memory reserved by open requests.",
              static_cast<double>(s.queue_bytes)),
        Gauge("synthvol_queue_expected_wait_seconds",
              "Expected wait of a new tenant's request that arrives now at normal priority.",
              s.expected_wait_seconds),
        Gauge("synthvol_queue_backlog_seconds",
              "Time until the usable workers are done with all requests that are open now.",
              s.backlog_seconds),
        Gauge("synthvol_workers_usable", "Workers that are neither stuck nor given up.",
              s.usable_workers),
        Gauge("synthvol_open_connections", "Connections that are open.", s.connections),
        Counted("synthvol_connections_refused_total",
                "Connections closed at once because connections.max_connections were open.",
                static_cast<double>(s.refused_connections)),
        Gauge("synthvol_open_streams", "Response streams that are open.", s.open_streams),
        Gauge("synthvol_resident_models", "Models in memory, summed over devices.",
              s.resident_models),
        Gauge("synthvol_draining", "1 while the server takes no new work.", s.draining ? 1 : 0)};
    MetricFamily resident =
        GaugeFamily("synthvol_device_resident_bytes", "Weights and workspaces on the device.");
    MetricFamily budget =
        GaugeFamily("synthvol_device_budget_bytes", "Budget of the device; 0 is none.");
    for (const GaugeSample::Device& device : s.devices) {
      AddValue(resident, static_cast<double>(device.resident_bytes), "device", device.device);
      AddValue(budget, static_cast<double>(device.budget_bytes), "device", device.device);
    }
    families.push_back(std::move(resident));
    families.push_back(std::move(budget));
    MetricFamily build = GaugeFamily("synthvol_build_info", "The build, as a label; always 1.");
    AddValue(build, 1.0, "build", Build());
    families.push_back(std::move(build));
    return families;
  }

 private:
  mutable absl::Mutex mutex_;
  std::function<GaugeSample()> sample_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct ServerMetrics::State {
  const std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  const std::shared_ptr<SampledGauges> gauges = std::make_shared<SampledGauges>();

  Family<Histogram>& queue_wait = BuildHistogram()
                                      .Name("synthvol_queue_wait_seconds")
                                      .Help("From admission to a worker, by priority.")
                                      .Register(*registry);
  Histogram& estimate_error = BuildHistogram()
                                  .Name("synthvol_wait_estimate_error_seconds")
                                  .Help("Absolute difference of expected and real wait.")
                                  .Register(*registry)
                                  .Add({}, kSeconds);
  Histogram& first_slice = BuildHistogram()
                               .Name("synthvol_time_to_first_slice_seconds")
                               .Help("From admission to the first slice of a request.")
                               .Register(*registry)
                               .Add({}, kSeconds);
  Family<Histogram>& volume = BuildHistogram()
                                  .Name("synthvol_volume_seconds")
                                  .Help("Synthesis of one volume, by model.")
                                  .Register(*registry);
  Histogram& stream_bytes = BuildHistogram()
                                .Name("synthvol_stream_bytes")
                                .Help("Bytes sent on a response stream.")
                                .Register(*registry)
                                .Add({}, kBytes);
  Family<Counter>& ended = BuildCounter()
                               .Name("synthvol_requests_total")
                               .Help("Calls that ended, by method, code and reason.")
                               .Register(*registry);
  Family<Counter>& draws = BuildCounter()
                               .Name("synthvol_plausibility_draws_total")
                               .Help("Volumes that the plausibility gate judged, by verdict.")
                               .Register(*registry);
  Family<Counter>& loads = BuildCounter()
                               .Name("synthvol_model_loads_total")
                               .Help("Model versions loaded or refused.")
                               .Register(*registry);

  mutable absl::Mutex mutex;
  std::map<std::string, uint64_t> by_code ABSL_GUARDED_BY(mutex);
  // Last: it stops before what it serves is gone.
  std::unique_ptr<prometheus::Exposer> exposer;
};

ServerMetrics::ServerMetrics() : state_(std::make_unique<State>()) {
  // Every series exists from the start, so that rates are right from the first event.
  for (const Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow}) {
    state_->queue_wait.Add({{"priority", ToString(priority)}}, kSeconds);
  }
  state_->loads.Add({{"result", "ok"}});
  state_->loads.Add({{"result", "refused"}});
  for (const char* method : {"Synthesize", "Deliver"}) {
    state_->ended.Add({{"method", method}, {"code", "OK"}, {"reason", ""}});
  }
}

ServerMetrics::~ServerMetrics() { Stop(); }

void ServerMetrics::SetSampler(std::function<GaugeSample()> sample) {
  state_->gauges->SetSampler(std::move(sample));
}

absl::Status ServerMetrics::Listen(const std::string& address) {
  try {
    state_->exposer = std::make_unique<prometheus::Exposer>(address, 2);
  } catch (const std::exception&) {
    return absl::UnavailableError(
        absl::StrCat("--metrics ", address, ": cannot listen there; is the port in use?"));
  }
  state_->exposer->RegisterCollectable(state_->registry);
  state_->exposer->RegisterCollectable(state_->gauges);
  return absl::OkStatus();
}

void ServerMetrics::Stop() {
  state_->exposer.reset();
  state_->gauges->SetSampler(nullptr);
}

void ServerMetrics::ObserveQueueWait(Priority priority, absl::Duration waited,
                                     absl::Duration expected) {
  state_->queue_wait.Add({{"priority", ToString(priority)}}, kSeconds)
      .Observe(absl::ToDoubleSeconds(waited));
  state_->estimate_error.Observe(std::abs(absl::ToDoubleSeconds(waited - expected)));
}

void ServerMetrics::ObserveFirstSlice(absl::Duration duration) {
  state_->first_slice.Observe(absl::ToDoubleSeconds(duration));
}

void ServerMetrics::ObserveVolume(const std::string& model, absl::Duration duration) {
  state_->volume.Add({{"model", model}}, kSeconds).Observe(absl::ToDoubleSeconds(duration));
}

void ServerMetrics::ObserveDraw(const std::string& model, const std::string& verdict) {
  state_->draws.Add({{"model", model}, {"verdict", verdict}}).Increment();
}

void ServerMetrics::ObserveEnd(const std::string& method, const std::string& code,
                               const std::string& reason) {
  state_->ended.Add({{"method", method}, {"code", code}, {"reason", reason}}).Increment();
  absl::MutexLock lock(&state_->mutex);
  ++state_->by_code[code];
}

void ServerMetrics::ObserveStreamBytes(uint64_t bytes) {
  state_->stream_bytes.Observe(static_cast<double>(bytes));
}

void ServerMetrics::ObserveModelLoad(const std::string& model, bool ok) {
  // As in the constructor: a model's first hundred volumes may lie between two scrapes.
  if (ok) state_->volume.Add({{"model", model}}, kSeconds);
  state_->loads.Add({{"result", ok ? "ok" : "refused"}}).Increment();
}

std::vector<std::pair<std::string, uint64_t>> ServerMetrics::EndedByCode() const {
  absl::MutexLock lock(&state_->mutex);
  return {state_->by_code.begin(), state_->by_code.end()};
}

std::string ServerMetrics::Text() const {
  std::vector<MetricFamily> families = state_->registry->Collect();
  for (MetricFamily& family : state_->gauges->Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace synthvol::server
