// The servers that a client knows: one channel each, taken in turn, with a pause after a failure.
//
// Thread-safe. Endpoints live as long as the pool.
#ifndef SYNTHVOL_CLIENT_ENDPOINT_POOL_H_
#define SYNTHVOL_CLIENT_ENDPOINT_POOL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/options.h"

namespace synthvol::client {

// One server. The fields are fixed once made.
struct Endpoint {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
};

class EndpointPool {
 public:
  // Checks the options and makes the channels; does not connect. Errors as Client::Create.
  static absl::StatusOr<std::unique_ptr<EndpointPool>> Create(const ClientOptions& options);

  struct Choice {
    const Endpoint* endpoint = nullptr;
    // How long to wait before using it: zero unless every endpoint is pausing.
    absl::Duration wait;
  };
  // Chooses the next endpoint in turn that is not pausing, or else the one whose pause ends first.
  Choice Choose() ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes an endpoint pause: `retry_delay` long when the server said so, else by the policy's
  // backoff.
  void ReportFailure(const Endpoint& endpoint, const absl::Duration* retry_delay)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Forgets an endpoint's failures.
  void ReportSuccess(const Endpoint& endpoint) ABSL_LOCKS_EXCLUDED(mutex_);

  // Gives `context` the credentials. An unreadable token file is an error that names it.
  absl::Status Authorize(grpc::ClientContext& context) const;

  size_t size() const { return endpoints_.size(); }

 private:
  struct Health {
    int failures = 0;
    absl::Time not_before = absl::InfinitePast();
  };

  EndpointPool(ClientOptions options, std::vector<Endpoint> endpoints);

  const ClientOptions options_;
  const std::vector<Endpoint> endpoints_;

  absl::Mutex mutex_;
  size_t turn_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Health> health_ ABSL_GUARDED_BY(mutex_);
};

// Returns the pause after the nth failure in a row (1 is the first), without jitter.
absl::Duration Backoff(const RetryPolicy& policy, int failures);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_ENDPOINT_POOL_H_
