// synthvol-server: serves trained generators over gRPC. docs/server-configuration.md has the flags.
#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/allocator.h"
#include "base/command_line.h"
#include "base/version.h"
#include "server/config/config.h"
#include "server/logging/log.h"
#include "server/probe.h"
#include "server/rpc/server.h"

namespace synthvol::server {
namespace {

constexpr char kProgram[] = "synthvol-server";

// What the command line says; empty or unset where it says nothing.
struct Flags {
  std::string config_file;
  std::string model_repository;
  std::string listen;
  std::string metrics;
  std::string health;
  std::vector<std::string> devices;
  std::optional<uint32_t> workers;
  std::optional<uint32_t> threads;
  std::optional<uint32_t> queue_requests;
  std::optional<uint64_t> queue_bytes;
  std::optional<double> drain_grace;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::string token_file;
  std::string log_level;
  bool allow_plaintext = false;
  bool check_config = false;
  std::string probe;
  std::string probe_service;
  std::string probe_ca;
};

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--model-repository", flags.model_repository,
                 "Folder NAME/VERSION/{config.json,model.safetensors}");
  app.add_option("--listen", flags.listen, "HOST:PORT of gRPC (default 127.0.0.1:8500)");
  app.add_option("--metrics", flags.metrics,
                 "HOST:PORT of /metrics, or off (default 127.0.0.1:9464)");
  app.add_option("--health", flags.health,
                 "HOST:PORT of a plaintext port for health probes only, or off (default off)");
  app.add_option("--config", flags.config_file, "JSON configuration; flags win over it");
  app.add_flag("--check-config", flags.check_config,
               "Checks the configuration, prints it with its defaults, exits");
  app.add_option("--device", flags.devices, "auto, cpu, cuda or cuda:I; repeatable (default auto)");
  app.add_option("--workers", flags.workers, "Volumes at once on each device (default 1)")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", flags.threads,
                 "Threads of one synthesis on the CPU, 0 for all cores (default 0)");
  app.add_option("--queue-requests", flags.queue_requests, "Open requests (default 1024)")
      ->check(CLI::PositiveNumber);
  app.add_option("--queue-bytes", flags.queue_bytes,
                 "Bytes that open requests may hold (default 4294967296)")
      ->check(CLI::PositiveNumber);
  app.add_option("--drain-grace", flags.drain_grace,
                 "Seconds that running streams may go on after SIGTERM (default 30)")
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option("--tls-cert", flags.tls_cert, "PEM certificate chain of the server");
  app.add_option("--tls-key", flags.tls_key, "PEM private key of the server");
  app.add_option("--tls-client-ca", flags.tls_client_ca,
                 "PEM authorities of client certificates: asks for them (mTLS)");
  app.add_option("--token-file", flags.token_file, "JSON file of hashed bearer tokens");
  app.add_flag("--allow-plaintext", flags.allow_plaintext, "Permits plaintext beyond loopback");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error (default info)");
  app.add_option("--probe", flags.probe, "Health check client: asks HOST:PORT, exits 0 if SERVING");
  app.add_option("--probe-service", flags.probe_service,
                 "Health name to ask for (default: the whole server)");
  app.add_option("--probe-ca", flags.probe_ca, "PEM authorities, for a server with TLS");
}

template <typename Message, typename Setter, typename Value>
void SetIfGiven(Message* message, Setter setter, const std::optional<Value>& value) {
  if (value.has_value()) (message->*setter)(*value);
}

void ApplyFlags(const Flags& flags, v1::ServerConfig& config) {
  if (!flags.model_repository.empty()) config.set_model_repository(flags.model_repository);
  if (!flags.listen.empty()) config.set_listen(flags.listen);
  if (!flags.metrics.empty()) config.set_metrics_listen(flags.metrics);
  if (!flags.health.empty()) config.set_health_listen(flags.health);
  if (flags.allow_plaintext) config.set_allow_plaintext(true);
  if (!flags.tls_cert.empty()) config.mutable_tls()->set_certificate_file(flags.tls_cert);
  if (!flags.tls_key.empty()) config.mutable_tls()->set_private_key_file(flags.tls_key);
  if (!flags.tls_client_ca.empty()) config.mutable_tls()->set_client_ca_file(flags.tls_client_ca);
  if (!flags.token_file.empty()) config.mutable_auth()->set_token_file(flags.token_file);
  if (!flags.log_level.empty()) config.mutable_log()->set_level(flags.log_level);
  if (!flags.devices.empty()) {
    config.mutable_workers()->mutable_devices()->Assign(flags.devices.begin(), flags.devices.end());
  }
  SetIfGiven(config.mutable_workers(), &v1::WorkersConfig::set_workers_per_device, flags.workers);
  SetIfGiven(config.mutable_workers(), &v1::WorkersConfig::set_threads_per_worker, flags.threads);
  SetIfGiven(config.mutable_queue(), &v1::QueueConfig::set_max_requests, flags.queue_requests);
  SetIfGiven(config.mutable_queue(), &v1::QueueConfig::set_max_bytes, flags.queue_bytes);
  if (flags.drain_grace.has_value()) {
    const int64_t nanos = static_cast<int64_t>(*flags.drain_grace * 1e9);
    config.mutable_drain_grace()->set_seconds(nanos / 1000000000);
    config.mutable_drain_grace()->set_nanos(static_cast<int32_t>(nanos % 1000000000));
  }
}

absl::StatusOr<v1::ServerConfig> Configure(const Flags& flags) {
  v1::ServerConfig config;
  if (!flags.config_file.empty()) {
    absl::StatusOr<v1::ServerConfig> read = ReadConfig(flags.config_file);
    if (!read.ok()) return absl::InvalidArgumentError(read.status().message());
    config = *std::move(read);
  }
  ApplyFlags(flags, config);
  CompleteConfig(config);
  if (absl::Status bad = CheckConfig(config); !bad.ok()) return bad;
  return config;
}

// Serves until SIGTERM or SIGINT, which every thread but this one has blocked.
absl::Status Serve(const v1::ServerConfig& config) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  signal(SIGPIPE, SIG_IGN);
  TakeLibraryLogs();
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config);
  if (!server.ok()) return server.status();
  const auto endpoint = ParseEndpoint(config.listen(), "listen");
  Log(LogLevel::kInfo, "listening",
      {{"address", absl::StrCat(endpoint->host, ":", (*server)->port())},
       {"port", static_cast<int64_t>((*server)->port())},
       {"metrics", config.metrics_listen()},
       {"build", std::string(Build())}});
  int signal_number = 0;
  sigwait(&stop, &signal_number);
  (*server)->DrainAndStop(ToDuration(config.drain_grace()));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  KeepFreedMemory();
  CLI::App app("Serves synthetic 3D volumes over gRPC.", kProgram);
  Flags flags;
  AddFlags(app, flags);
  if (const std::optional<int> status = ParseCommandLine(app, argc, argv)) return *status;
  if (!flags.probe.empty()) {
    const absl::Status healthy = Probe(flags.probe, flags.probe_service, flags.probe_ca);
    return healthy.ok() ? kExitFine : ReportError(kProgram, healthy);
  }
  const absl::StatusOr<v1::ServerConfig> config = Configure(flags);
  if (!config.ok()) return ReportError(kProgram, config.status());
  if (flags.check_config) {
    std::cout << ToJson(*config);
    return kExitFine;
  }
  const absl::Status served = Serve(*config);
  return served.ok() ? kExitFine : ReportError(kProgram, served);
}

}  // namespace
}  // namespace synthvol::server

int main(int argc, char** argv) { return synthvol::server::Main(argc, argv); }
