#include "server/rpc/health_listener.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/reflection.h"

namespace synthvol::server {
namespace {

// A health request is a name.
constexpr int kMaxRequestBytes = 1024;
constexpr int kMaxStreams = 16;
constexpr uint32_t kMaxConnections = 64;
// Probes connect anew or come every few seconds.
constexpr int kMaxIdleMs = 60000;

}  // namespace

absl::StatusOr<std::unique_ptr<HealthListener>> HealthListener::Start(const std::string& address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetReflection(false, builder);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxIdleMs);
  auto listening = Listener::Open({.address = address, .max_connections = kMaxConnections},
                                  grpc::InsecureServerCredentials(), builder);
  if (!listening.ok()) {
    return absl::UnavailableError(absl::StrCat("--health ", address,
                                               ": cannot listen there; is the port in use? (",
                                               listening.status().message(), ")"));
  }
  std::unique_ptr<HealthListener> listener(new HealthListener());
  listener->listener_ = *std::move(listening);
  builder.RegisterCallbackGenericService(&listener->nothing_else_);
  listener->server_ = builder.BuildAndStart();
  if (listener->server_ == nullptr) return absl::InternalError("gRPC cannot be started");
  listener->listener_->Start();
  return listener;
}

HealthListener::~HealthListener() {
  if (server_ == nullptr) return;
  listener_->Stop();
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

}  // namespace synthvol::server
