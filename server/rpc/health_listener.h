// A port of its own that serves grpc.health.v1 in plaintext and none of our services:
// orchestrators' gRPC probes speak neither TLS nor tokens, so they get no closer to the service
// than this.
//
// Thread-safe after Start. Owns its gRPC server.
#ifndef SYNTHVOL_SERVER_RPC_HEALTH_LISTENER_H_
#define SYNTHVOL_SERVER_RPC_HEALTH_LISTENER_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/rpc/listener.h"

namespace synthvol::server {

class HealthListener {
 public:
  // Listens on HOST:PORT; UNAVAILABLE names the address.
  static absl::StatusOr<std::unique_ptr<HealthListener>> Start(const std::string& address);
  // Stops at once.
  ~HealthListener();

  // gRPC's health service of this port; lives as long as the listener.
  grpc::HealthCheckServiceInterface* service() { return server_->GetHealthCheckService(); }

 private:
  HealthListener() = default;

  // Answers every other method with UNIMPLEMENTED; gRPC builds no server without a service.
  grpc::CallbackGenericService nothing_else_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_HEALTH_LISTENER_H_
