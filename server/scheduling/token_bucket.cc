#include "server/scheduling/token_bucket.h"

#include <algorithm>

namespace synthvol::server {

void TokenBucket::Refill(absl::Time now) {
  if (filled_ != absl::InfinitePast() && now > filled_) {
    tokens_ = std::min(burst_, tokens_ + rate_ * absl::ToDoubleSeconds(now - filled_));
  }
  filled_ = std::max(filled_, now);
}

absl::Duration TokenBucket::TimeUntil(double amount, absl::Time now) {
  if (rate_ <= 0.0) return absl::ZeroDuration();
  Refill(now);
  // The slack absorbs rounding: waiting exactly the time that was answered must be enough.
  const double missing = std::min(amount, burst_) - tokens_ - 1e-6;
  return missing <= 0.0 ? absl::ZeroDuration() : absl::Seconds(missing / rate_);
}

void TokenBucket::Take(double amount, absl::Time now) {
  if (rate_ <= 0.0) return;
  Refill(now);
  tokens_ -= amount;
}

}  // namespace synthvol::server
