// The whole server: built from a checked configuration, started, drained, stopped.
//
// Thread-safe after Start. Owns everything; parts are destroyed in the reverse order of their use.
#ifndef SYNTHVOL_SERVER_RPC_SERVER_H_
#define SYNTHVOL_SERVER_RPC_SERVER_H_

#include <grpcpp/server.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/model_registry.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/delivery_service.h"
#include "server/rpc/health.h"
#include "server/rpc/health_listener.h"
#include "server/rpc/listener.h"
#include "server/rpc/service_context.h"
#include "server/rpc/synthesis_service.h"
#include "server/scheduling/scheduler.h"
#include "server/security/authenticator.h"
#include "server/security/token_store.h"
#include "synthvol/v1/server_config.pb.h"

namespace synthvol::server {

class Server {
 public:
  // Starts everything; models load in the background. `config` is complete and checked. Errors are
  // one line that names the flag, file or address.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const v1::ServerConfig& config);
  // Stops at once.
  ~Server();

  // Turns readiness off and refuses new work from now on.
  void BeginDrain();
  // Drains, lets running streams go on for `grace`, ends what is left and stops.
  void DrainAndStop(absl::Duration grace);

  // The port that was taken.
  int port() const { return listener_->port(); }
  ModelRegistry& registry() { return *registry_; }
  Scheduler& scheduler() { return *scheduler_; }
  const ServerMetrics& metrics() const { return metrics_; }

 private:
  Server() = default;

  absl::Status StartAuthentication(const v1::ServerConfig& config);
  absl::Status StartModels(const v1::ServerConfig& config);
  void StartScheduler(const v1::ServerConfig& config);
  absl::Status StartServices(const v1::ServerConfig& config);
  absl::Status StartListening(const v1::ServerConfig& config);
  GaugeSample Sample() const;
  void Stop();

  ServerMetrics metrics_;
  std::unique_ptr<TokenStore> tokens_;
  std::unique_ptr<Authenticator> authenticator_;
  ServiceContext context_;
  std::unique_ptr<Executor> hashing_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Health> health_;
  std::unique_ptr<StreamMonitor> monitor_;
  std::unique_ptr<SynthesisService> synthesis_;
  std::unique_ptr<DeliveryService> delivery_;
  std::unique_ptr<AdminService> admin_;
  std::unique_ptr<HealthListener> health_listener_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::Server> grpc_server_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SERVER_H_
