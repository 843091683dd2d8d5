#include "server/config/config.h"

#include <arpa/inet.h>
#include <google/protobuf/util/json_util.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"

namespace synthvol::server {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr uint64_t kMiB = 1 << 20;

void Default(google::protobuf::Duration* field, bool present, int64_t seconds) {
  if (!present) field->set_seconds(seconds);
}

#define SYNTHVOL_DEFAULT(message, field, value) \
  if ((message).field() == 0) (message).set_##field(value)
#define SYNTHVOL_DEFAULT_SECONDS(message, field, value) \
  Default((message).mutable_##field(), (message).has_##field(), value)

void CompleteConnections(v1::ConnectionsConfig& connections) {
  SYNTHVOL_DEFAULT(connections, max_request_bytes, 256 << 10);
  SYNTHVOL_DEFAULT(connections, max_metadata_bytes, 16 << 10);
  SYNTHVOL_DEFAULT(connections, max_connections, 1000);
  SYNTHVOL_DEFAULT(connections, max_streams_per_connection, 256);
  SYNTHVOL_DEFAULT(connections, max_transport_bytes, 512 * kMiB);
  SYNTHVOL_DEFAULT_SECONDS(connections, max_idle, 300);
  SYNTHVOL_DEFAULT_SECONDS(connections, max_age, 1800);
  SYNTHVOL_DEFAULT_SECONDS(connections, keepalive_interval, 30);
  SYNTHVOL_DEFAULT_SECONDS(connections, keepalive_timeout, 10);
  SYNTHVOL_DEFAULT_SECONDS(connections, handshake_timeout, 10);
}

void CompleteModels(v1::ModelsConfig& models) {
  SYNTHVOL_DEFAULT_SECONDS(models, poll_interval, 2);
  if (!models.has_warmup()) models.set_warmup(true);
  if (models.render_mode().empty()) models.set_render_mode("fast");
}

void CompletePlausibility(v1::PlausibilityConfig& plausibility) {
  if (plausibility.mode().empty()) plausibility.set_mode("off");
  SYNTHVOL_DEFAULT(plausibility, max_redraws, 4);
}

void CompleteWork(v1::ServerConfig& config) {
  v1::WorkersConfig& workers = *config.mutable_workers();
  if (workers.devices().empty()) workers.add_devices("auto");
  SYNTHVOL_DEFAULT(workers, workers_per_device, 1);
  SYNTHVOL_DEFAULT_SECONDS(workers, watchdog_timeout, 120);
  v1::QueueConfig& queue = *config.mutable_queue();
  SYNTHVOL_DEFAULT(queue, max_requests, 1024);
  SYNTHVOL_DEFAULT(queue, max_bytes, 4096 * kMiB);
  SYNTHVOL_DEFAULT_SECONDS(queue, ageing_interval, 10);
  SYNTHVOL_DEFAULT(*queue.mutable_default_tenant(), weight, 1.0);
  for (v1::TenantConfig& tenant : *config.mutable_tenants()) SYNTHVOL_DEFAULT(tenant, weight, 1.0);
  v1::StreamsConfig& streams = *config.mutable_streams();
  SYNTHVOL_DEFAULT(streams, buffer_bytes, 64 * kMiB);
  SYNTHVOL_DEFAULT_SECONDS(streams, slow_reader_timeout, 30);
  SYNTHVOL_DEFAULT(streams, chunk_bytes, kMiB);
  SYNTHVOL_DEFAULT(streams, max_volumes_per_request, 1000);
}

}  // namespace

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::StatusOr<v1::ServerConfig> ParseConfig(const std::string& json, const std::string& where) {
  v1::ServerConfig config;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &config, options);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": not a server configuration (docs/server-configuration.md): ",
                     absl::string_view(parsed.message().data(), parsed.message().size())));
  }
  return config;
}

absl::StatusOr<v1::ServerConfig> ReadConfig(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  return ParseConfig(*text, path);
}

void CompleteConfig(v1::ServerConfig& config) {
  if (config.listen().empty()) config.set_listen("127.0.0.1:8500");
  if (config.metrics_listen().empty()) config.set_metrics_listen("127.0.0.1:9464");
  if (config.health_listen().empty()) config.set_health_listen("off");
  if (config.has_tls()) {
    SYNTHVOL_DEFAULT_SECONDS(*config.mutable_tls(), reload_interval, 10);
  }
  v1::AuthConfig& auth = *config.mutable_auth();
  if (auth.token_file().empty() && auth.anonymous_scopes().empty()) {
    auth.add_anonymous_scopes("synthesize");
    auth.add_anonymous_scopes("deliver");
    const auto endpoint = ParseEndpoint(config.listen(), "listen");
    if (endpoint.ok() && IsLoopback(endpoint->host)) auth.add_anonymous_scopes("admin");
  }
  CompleteModels(*config.mutable_models());
  CompleteWork(config);
  CompleteConnections(*config.mutable_connections());
  CompletePlausibility(*config.mutable_plausibility());
  SYNTHVOL_DEFAULT_SECONDS(config, drain_grace, 30);
  for (v1::DestinationConfig& destination : *config.mutable_destinations()) {
    if (destination.has_c_store() && destination.c_store().calling_ae_title().empty()) {
      destination.mutable_c_store()->set_calling_ae_title("SYNTHVOL");
    }
  }
  if (config.log().level().empty()) config.mutable_log()->set_level("info");
  if (!config.has_reflection()) config.set_reflection(true);
}

std::string ToJson(const v1::ServerConfig& config) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  if (!google::protobuf::util::MessageToJsonString(config, &json, options).ok()) return "{}\n";
  return json;
}

absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text, absl::string_view field) {
  const size_t colon = text.rfind(':');
  Endpoint endpoint;
  const bool bracketed = absl::StartsWith(text, "[");
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(text.substr(colon + 1), &endpoint.port) || endpoint.port < 0 ||
      endpoint.port > 65535 || (bracketed && text[colon - 1] != ']')) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": expected HOST:PORT with a port of 0 .. 65535, found '", text, "'"));
  }
  absl::string_view host = text.substr(0, colon);
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!bracketed && absl::StrContains(host, ":"))) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": expected HOST:PORT or [IPV6]:PORT, found '", text, "'"));
  }
  endpoint.host = std::string(host);
  return endpoint;
}

bool IsLoopback(absl::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  // A name may begin like an address ("127.0.0.1.example.org").
  in_addr address{};
  return inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 &&
         (ntohl(address.s_addr) >> 24) == 127;
}

}  // namespace synthvol::server
