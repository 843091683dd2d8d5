// Runs one call to its end: attempts, pauses, deadline, cancellation.
//
// Not thread-safe; made per call. Refers to the pool and the cancellation, owns neither.
#ifndef SYNTHVOL_CLIENT_CALL_RUNNER_H_
#define SYNTHVOL_CLIENT_CALL_RUNNER_H_

#include <grpcpp/client_context.h>

#include <functional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/endpoint_pool.h"

namespace synthvol::client {

struct Cancellation::State {
  absl::Mutex mutex;
  bool cancelled ABSL_GUARDED_BY(mutex) = false;
  std::set<grpc::ClientContext*> running ABSL_GUARDED_BY(mutex);
};

// How an attempt ended.
struct AttemptResult {
  absl::Status status;
  // The error is the caller's own (a sink's): no retry whatever its code.
  bool final = false;
  // Nothing failed; the stream must only be opened again (status is OK).
  bool reopen = false;
};

class CallRunner {
 public:
  using Attempt = std::function<AttemptResult(const Endpoint&, grpc::ClientContext&)>;
  using OnRetry = std::function<void(const absl::Status&, const std::string&, absl::Duration)>;

  CallRunner(EndpointPool& pool, const RetryPolicy& policy, const CallOptions& options);

  // Runs `attempt` until it succeeds, fails for good, or RetryPolicy::max_attempts of them in a row
  // failed without `progress` growing.
  absl::Status Run(const Attempt& attempt, const std::function<uint64_t()>& progress,
                   const OnRetry& on_retry);

 private:
  AttemptResult RunOnce(const Attempt& attempt, const Endpoint& endpoint);
  // Sleeps. CANCELLED or DEADLINE_EXCEEDED when the pause cannot be slept through.
  absl::Status Pause(absl::Duration pause, const absl::Status& why);

  EndpointPool& pool_;
  const RetryPolicy policy_;
  Cancellation* const cancellation_;
  const absl::Time deadline_;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CALL_RUNNER_H_
