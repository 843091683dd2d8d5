#include "server/scheduling/service_times.h"

#include <algorithm>

namespace synthvol::server {

void ServiceTimes::Record(const std::string& key, absl::Duration duration) {
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(duration));
  const auto [it, fresh] = averages_.try_emplace(key);
  Average& average = it->second;
  average.seconds = fresh ? seconds : (1.0 - kNewWeight) * average.seconds + kNewWeight * seconds;
  average.used = ++sequence_;
  overall_ = overall_.has_value() ? (1.0 - kNewWeight) * *overall_ + kNewWeight * seconds : seconds;
  if (averages_.size() > kMaxKeys) DropOldest();
}

void ServiceTimes::DropOldest() {
  averages_.erase(
      std::min_element(averages_.begin(), averages_.end(),
                       [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
}

std::optional<absl::Duration> ServiceTimes::Measured(const std::string& key) const {
  const auto it = averages_.find(key);
  if (it == averages_.end()) return std::nullopt;
  return absl::Seconds(it->second.seconds);
}

std::optional<absl::Duration> ServiceTimes::Estimate(const std::string& key) const {
  if (const std::optional<absl::Duration> measured = Measured(key)) return measured;
  if (overall_.has_value()) return absl::Seconds(*overall_);
  return std::nullopt;
}

}  // namespace synthvol::server
