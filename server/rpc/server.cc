#include "server/rpc/server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/config/config.h"
#include "server/logging/log.h"
#include "server/rpc/reflection.h"
#include "server/rpc/server_options.h"
#include "server/scheduling/annotated_status.h"
#include "server/security/credentials.h"

namespace synthvol::server {
namespace {

// Time that transports get to flush answers after the last stream ended.
constexpr absl::Duration kFlushTime = absl::Seconds(2);
constexpr size_t kPoolBytes = 64 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const v1::ServerConfig& config) {
  SetLogLevel(config.log().level());
  std::unique_ptr<Server> server(new Server());
  if (absl::Status status = server->StartAuthentication(config); !status.ok()) return status;
  if (absl::Status status = server->StartModels(config); !status.ok()) return status;
  server->StartScheduler(config);
  if (absl::Status status = server->StartServices(config); !status.ok()) return status;
  if (absl::Status status = server->StartListening(config); !status.ok()) return status;
  server->registry_->Start();
  return server;
}

absl::Status Server::StartAuthentication(const v1::ServerConfig& config) {
  unsigned scopes = 0;
  for (const std::string& scope : config.auth().anonymous_scopes()) {
    scopes |= ParseScope(scope).value_or(static_cast<Scope>(0));
  }
  if (const std::string& path = config.auth().token_file(); !path.empty()) {
    auto store = TokenStore::Open(path, absl::Seconds(2), [](const std::string& message) {
      Log(LogLevel::kError, "token_file", {{"message", message}});
    });
    if (!store.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("auth.token_file: ", store.status().message()));
    }
    tokens_ = *std::move(store);
  }
  authenticator_ = std::make_unique<Authenticator>(tokens_.get(), scopes);
  return absl::OkStatus();
}

absl::Status Server::StartModels(const v1::ServerConfig& config) {
  auto devices = ParseDevices(config.workers());
  if (!devices.ok()) return devices.status();
  context_.devices = *devices;
  RegistryOptions options = ToRegistryOptions(config, *devices);
  options.on_change = [this] {
    if (health_ != nullptr) health_->Update();
  };
  options.log = [this](bool is_error, const std::string& message) {
    Log(is_error ? LogLevel::kError : LogLevel::kInfo, "model", {{"message", message}});
  };
  options.on_load = [this](const std::string& model, bool ok) {
    metrics_.ObserveModelLoad(model, ok);
  };
  auto registry = ModelRegistry::Create(std::move(options));
  if (!registry.ok()) {
    return absl::Status(registry.status().code(),
                        absl::StrCat("--model-repository: ", registry.status().message()));
  }
  registry_ = *std::move(registry);
  return absl::OkStatus();
}

void Server::StartScheduler(const v1::ServerConfig& config) {
  SchedulerOptions options = ToSchedulerOptions(config);
  for (size_t device = 0; device < context_.devices.size(); ++device) {
    for (uint32_t i = 0; i < config.workers().workers_per_device(); ++i) {
      options.workers.push_back(DeviceName(context_.devices[device]));
      context_.device_of_worker.push_back(static_cast<int>(device));
    }
  }
  options.rebuild = [this](int worker) {
    Log(LogLevel::kError, "device_rebuild", {{"worker", static_cast<int64_t>(worker)}});
    registry_->DropDevice(context_.device_of_worker[worker]);
    return absl::OkStatus();
  };
  options.observer.on_start = [this](const TaskSpec& spec, absl::Duration waited,
                                     absl::Duration expected) {
    metrics_.ObserveQueueWait(spec.priority, waited, expected);
  };
  options.observer.on_workers_changed = [this] {
    Log(LogLevel::kWarning, "workers",
        {{"usable", static_cast<int64_t>(scheduler_->UsableWorkers())}});
    health_->Update();
  };
  hashing_ = std::make_unique<Executor>(static_cast<int>(options.workers.size()));
  context_.hashing = hashing_.get();
  scheduler_ = std::make_unique<Scheduler>(std::move(options));
}

absl::Status Server::StartServices(const v1::ServerConfig& config) {
  const v1::StreamsConfig& streams = config.streams();
  monitor_ = std::make_unique<StreamMonitor>(ToDuration(streams.slow_reader_timeout()));
  context_.registry = registry_.get();
  context_.scheduler = scheduler_.get();
  context_.metrics = &metrics_;
  context_.monitor = monitor_.get();
  context_.authenticator = authenticator_.get();
  context_.pool =
      std::make_shared<BlockPool>(streams.chunk_bytes(), kPoolBytes / streams.chunk_bytes());
  context_.limits = {streams.max_volumes_per_request(), streams.chunk_bytes()};
  context_.gate = ToGatePolicy(config.plausibility());
  context_.stream_buffer_bytes = streams.buffer_bytes();
  context_.queue_limit = config.queue().max_requests();
  context_.queue_bytes_limit = config.queue().max_bytes();
  health_ =
      std::make_unique<Health>(registry_.get(), scheduler_.get(),
                               std::vector<std::string>{v1::SynthesisService::service_full_name(),
                                                        v1::DeliveryService::service_full_name(),
                                                        v1::AdminService::service_full_name()});
  absl::StatusOr<Destinations> destinations = Destinations::Create(config);
  if (!destinations.ok()) return destinations.status();
  delivery_ = std::make_unique<DeliveryService>(&context_, *std::move(destinations));
  synthesis_ = std::make_unique<SynthesisService>(&context_);
  admin_ = std::make_unique<AdminService>(&context_, [this] { BeginDrain(); });
  return absl::OkStatus();
}

absl::Status Server::StartListening(const v1::ServerConfig& config) {
  const auto credentials = MakeServerCredentials(config);
  if (!credentials.ok()) return credentials.status();
  if (config.health_listen() != "off") {
    auto listener = HealthListener::Start(config.health_listen());
    if (!listener.ok()) return listener.status();
    health_listener_ = *std::move(listener);
    health_->Attach(health_listener_->service());
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetReflection(config.reflection(), builder);
  SetConnectionLimits(config.connections(), builder);
  const v1::ConnectionsConfig& limits = config.connections();
  auto listening = Listener::Open({.address = config.listen(),
                                   .max_connections = limits.max_connections(),
                                   .dead_peer_timeout = ToDuration(limits.keepalive_timeout())},
                                  *credentials, builder);
  if (!listening.ok()) {
    return absl::UnavailableError(absl::StrCat("--listen ", config.listen(),
                                               ": cannot listen there; is the port in use? (",
                                               listening.status().message(), ")"));
  }
  listener_ = *std::move(listening);
  builder.RegisterService(synthesis_.get());
  builder.RegisterService(delivery_.get());
  builder.RegisterService(admin_.get());
  grpc_server_ = builder.BuildAndStart();
  if (grpc_server_ == nullptr) return absl::InternalError("gRPC cannot be started");
  listener_->Start();
  health_->Attach(grpc_server_->GetHealthCheckService());
  metrics_.SetSampler([this] { return Sample(); });
  if (config.metrics_listen() == "off") return absl::OkStatus();
  return metrics_.Listen(config.metrics_listen());
}

GaugeSample Server::Sample() const {
  const SchedulerSnapshot snapshot = scheduler_->Snapshot();
  GaugeSample sample;
  sample.queued = snapshot.waiting;
  sample.running = snapshot.running;
  sample.parked = snapshot.parked;
  sample.queue_bytes = snapshot.bytes;
  sample.expected_wait_seconds = absl::ToDoubleSeconds(snapshot.expected_wait);
  sample.backlog_seconds = absl::ToDoubleSeconds(snapshot.backlog);
  sample.usable_workers = static_cast<uint32_t>(scheduler_->UsableWorkers());
  sample.connections = listener_->connections();
  sample.refused_connections = listener_->refused();
  sample.open_streams = static_cast<uint32_t>(monitor_->open());
  sample.resident_models = static_cast<uint32_t>(registry_->ResidentModels());
  sample.draining = snapshot.draining;
  for (size_t i = 0; i < context_.devices.size(); ++i) {
    sample.devices.push_back({DeviceName(context_.devices[i]),
                              registry_->ResidentBytes(static_cast<int>(i)),
                              registry_->device_byte_budget()});
  }
  return sample;
}

void Server::BeginDrain() {
  Log(LogLevel::kInfo, "drain", {});
  health_->Drain();
  scheduler_->Drain();
}

void Server::DrainAndStop(absl::Duration grace) {
  BeginDrain();
  const bool idle = scheduler_->AwaitIdle(absl::Now() + grace);
  Log(idle ? LogLevel::kInfo : LogLevel::kWarning, "drained",
      {{"message", idle ? "every stream finished" : "the grace time is over; streams were ended"}});
  Stop();
}

void Server::Stop() {
  metrics_.Stop();
  if (registry_ != nullptr) registry_->Stop();
  if (scheduler_ != nullptr) {
    scheduler_->Stop(WithRetryAfter(
        WithReason(absl::UnavailableError("the server is shutting down; another one takes over"),
                   "DRAINING"),
        absl::Seconds(1)));
  }
  if (listener_ != nullptr) listener_->Stop();
  if (grpc_server_ != nullptr) {
    grpc_server_->Shutdown(absl::ToChronoTime(absl::Now() + kFlushTime));
    grpc_server_->Wait();
  }
  if (health_ != nullptr) health_->Detach();
  grpc_server_.reset();
  health_listener_.reset();
}

Server::~Server() { Stop(); }

}  // namespace synthvol::server
