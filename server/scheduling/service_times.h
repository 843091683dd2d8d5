// Measured service times: how long one unit of work (a volume) takes, by key (model, version,
// format, precision), as an exponentially weighted moving average.
//
// Not thread-safe. Keeps at most a fixed number of keys, the longest unused goes first.
#ifndef SYNTHVOL_SERVER_SCHEDULING_SERVICE_TIMES_H_
#define SYNTHVOL_SERVER_SCHEDULING_SERVICE_TIMES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/time/time.h"

namespace synthvol::server {

class ServiceTimes {
 public:
  // A new measurement counts with this weight, an old average with the rest.
  static constexpr double kNewWeight = 0.2;
  static constexpr size_t kMaxKeys = 1024;

  // Adds a measurement.
  void Record(const std::string& key, absl::Duration duration);
  // Returns the average of `key`, nothing when it was never measured.
  std::optional<absl::Duration> Measured(const std::string& key) const;
  // Returns the average of `key`; that over all keys when this one was never measured; nothing
  // before the first measurement.
  std::optional<absl::Duration> Estimate(const std::string& key) const;

 private:
  struct Average {
    double seconds = 0.0;
    uint64_t used = 0;
  };

  void DropOldest();

  std::unordered_map<std::string, Average> averages_;
  std::optional<double> overall_;
  uint64_t sequence_ = 0;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SCHEDULING_SERVICE_TIMES_H_
