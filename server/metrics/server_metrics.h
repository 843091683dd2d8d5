// What the server measures about itself, as Prometheus metrics (names in docs/operations.md).
//
// Thread-safe. Owns the registry and, once started, the HTTP listener of /metrics.
#ifndef SYNTHVOL_SERVER_METRICS_SERVER_METRICS_H_
#define SYNTHVOL_SERVER_METRICS_SERVER_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/scheduling/fair_queue.h"

namespace synthvol::server {

// The values that are read when somebody scrapes.
struct GaugeSample {
  struct Device {
    std::string device;
    int64_t resident_bytes = 0;
    int64_t budget_bytes = 0;
  };
  uint32_t queued = 0;
  uint32_t running = 0;
  uint32_t parked = 0;
  uint64_t queue_bytes = 0;
  double expected_wait_seconds = 0.0;
  double backlog_seconds = 0.0;
  uint32_t usable_workers = 0;
  uint32_t open_streams = 0;
  uint32_t connections = 0;
  uint64_t refused_connections = 0;
  uint32_t resident_models = 0;
  bool draining = false;
  std::vector<Device> devices;
};

class ServerMetrics {
 public:
  ServerMetrics();
  ~ServerMetrics();
  ServerMetrics(const ServerMetrics&) = delete;
  ServerMetrics& operator=(const ServerMetrics&) = delete;

  // Sets where gauges come from; before Listen. `sample` is called from the scraping thread.
  void SetSampler(std::function<GaugeSample()> sample);
  // Serves /metrics on HOST:PORT; an error names the address.
  absl::Status Listen(const std::string& address);
  // Stops serving; the sampler is not called afterwards.
  void Stop();

  // A first turn began; `expected` is what was estimated at admission.
  void ObserveQueueWait(Priority priority, absl::Duration waited, absl::Duration expected);
  // From admission to the first slice.
  void ObserveFirstSlice(absl::Duration duration);
  // From the start of a volume's synthesis to its last slice.
  void ObserveVolume(const std::string& model, absl::Duration duration);
  // The plausibility gate judged a draw: "plausible", "implausible" or "unchecked".
  void ObserveDraw(const std::string& model, const std::string& verdict);
  // A call of `method` ended.
  void ObserveEnd(const std::string& method, const std::string& code, const std::string& reason);
  // A stream ended after this many bytes.
  void ObserveStreamBytes(uint64_t bytes);
  // A version of `model` was loaded, or refused.
  void ObserveModelLoad(const std::string& model, bool ok);

  // Returns requests ended so far by code name.
  std::vector<std::pair<std::string, uint64_t>> EndedByCode() const;
  // Returns the page as a scrape gets it.
  std::string Text() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_METRICS_SERVER_METRICS_H_
