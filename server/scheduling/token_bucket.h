// A rate limit: `rate` tokens a second flow into a bucket that holds `burst`.
//
// Not thread-safe. Time is given by the caller and never runs backwards for it.
#ifndef SYNTHVOL_SERVER_SCHEDULING_TOKEN_BUCKET_H_
#define SYNTHVOL_SERVER_SCHEDULING_TOKEN_BUCKET_H_

#include "absl/time/time.h"

namespace synthvol::server {

class TokenBucket {
 public:
  // Starts full. A rate of 0 means no limit.
  TokenBucket(double rate, double burst) : rate_(rate), burst_(burst), tokens_(burst) {}

  // Returns how long until `amount` may be taken: zero when it may be now. More than the burst is
  // let through from a full bucket and leaves a debt, so that a large request is slowed, not
  // excluded.
  absl::Duration TimeUntil(double amount, absl::Time now);
  // Takes `amount`; call it when TimeUntil returned zero.
  void Take(double amount, absl::Time now);

 private:
  void Refill(absl::Time now);

  const double rate_;
  const double burst_;
  double tokens_;
  absl::Time filled_ = absl::InfinitePast();
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SCHEDULING_TOKEN_BUCKET_H_
