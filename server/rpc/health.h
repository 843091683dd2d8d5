// Keeps grpc.health.v1 in step with workers and models: "", each service, "model/NAME" and
// "model/NAME@VERSION"; "liveness" is SERVING as long as the process answers.
//
// Thread-safe. Borrows registry, scheduler and gRPC's health service.
#ifndef SYNTHVOL_SERVER_RPC_HEALTH_H_
#define SYNTHVOL_SERVER_RPC_HEALTH_H_

#include <grpcpp/health_check_service_interface.h>

#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/registry/model_registry.h"
#include "server/scheduling/scheduler.h"

namespace synthvol::server {

class Health {
 public:
  Health(const ModelRegistry* registry, const Scheduler* scheduler,
         std::vector<std::string> services)
      : registry_(registry), scheduler_(scheduler), services_(std::move(services)) {}

  // Connects gRPC's service, or the one of another port; until then updates are kept back.
  void Attach(grpc::HealthCheckServiceInterface* service) ABSL_LOCKS_EXCLUDED(mutex_);
  // Forgets every service; before they go.
  void Detach() ABSL_LOCKS_EXCLUDED(mutex_);
  // Publishes the present state; call it after any change.
  void Update() ABSL_LOCKS_EXCLUDED(mutex_);
  // Publishes NOT_SERVING for everything, for good.
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const ModelRegistry* const registry_;
  const Scheduler* const scheduler_;
  const std::vector<std::string> services_;
  absl::Mutex mutex_;
  // Publishes one name on every port.
  void Publish(const std::string& name, bool serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::vector<grpc::HealthCheckServiceInterface*> ports_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  // Models that were published, so that those that vanish are withdrawn.
  std::set<std::string> published_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_HEALTH_H_
