// The checks of a completed configuration, one function a message.
#include <algorithm>
#include <initializer_list>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "server/config/config.h"
#include "server/registry/model_repository.h"

namespace synthvol::server {
namespace {

constexpr absl::Duration kLongest = absl::Hours(24 * 365);

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// Checks that a number lies in a range.
template <typename T>
absl::Status InRange(absl::string_view field, T value, T low, T high) {
  // Written so that NaN fails.
  if (value >= low && value <= high) return absl::OkStatus();
  return Bad(field, ": expected ", low, " .. ", high, ", found ", value);
}

absl::Status AtLeast(absl::string_view field, const google::protobuf::Duration& duration,
                     absl::Duration least) {
  const absl::Duration value = ToDuration(duration);
  if (value >= least && value <= kLongest) return absl::OkStatus();
  return Bad(field, ": expected at least ", absl::FormatDuration(least), ", found ",
             absl::FormatDuration(value));
}

absl::Status OneOf(absl::string_view field, absl::string_view value,
                   std::initializer_list<absl::string_view> allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return absl::OkStatus();
  return Bad(field, ": expected one of ", absl::StrJoin(allowed, ", "), ", found '", value, "'");
}

// Returns the first error of a list.
absl::Status FirstError(std::initializer_list<absl::Status> all) {
  for (const absl::Status& status : all) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckListen(const v1::ServerConfig& config) {
  const auto endpoint = ParseEndpoint(config.listen(), "listen");
  if (!endpoint.ok()) return endpoint.status();
  if (!config.has_tls() && !config.allow_plaintext() && !IsLoopback(endpoint->host)) {
    return Bad("listen: ", config.listen(),
               " is not loopback: set tls (--tls-cert, --tls-key), or permit plaintext with "
               "--allow-plaintext");
  }
  if (config.health_listen() != "off") {
    const auto health = ParseEndpoint(config.health_listen(), "health_listen");
    if (!health.ok()) return health.status();
  }
  if (config.metrics_listen() == "off") return absl::OkStatus();
  return ParseEndpoint(config.metrics_listen(), "metrics_listen").status();
}

absl::Status CheckTls(const v1::TlsConfig& tls) {
  if (tls.certificate_file().empty()) return Bad("tls.certificate_file: is required (--tls-cert)");
  if (tls.private_key_file().empty()) return Bad("tls.private_key_file: is required (--tls-key)");
  return AtLeast("tls.reload_interval", tls.reload_interval(), absl::Seconds(1));
}

absl::Status CheckAuth(const v1::AuthConfig& auth) {
  for (const std::string& scope : auth.anonymous_scopes()) {
    const absl::Status known =
        OneOf("auth.anonymous_scopes", scope, {"synthesize", "deliver", "admin"});
    if (!known.ok()) return known;
  }
  if (!auth.token_file().empty() && !auth.anonymous_scopes().empty()) {
    return Bad("auth.anonymous_scopes: only without auth.token_file");
  }
  return absl::OkStatus();
}

absl::Status CheckTenant(const std::string& field, const v1::TenantConfig& tenant) {
  return FirstError(
      {InRange<double>(field + ".weight", tenant.weight(), 0.001, 1000.0),
       InRange<double>(field + ".volumes_per_second", tenant.volumes_per_second(), 0.0, 1e6),
       InRange<double>(field + ".burst_volumes", tenant.burst_volumes(), 0.0, 1e9)});
}

absl::Status CheckTenants(const v1::ServerConfig& config) {
  absl::Status status = CheckTenant("queue.default_tenant", config.queue().default_tenant());
  std::set<std::string> names;
  for (int i = 0; i < config.tenants_size() && status.ok(); ++i) {
    const std::string field = absl::StrCat("tenants[", i, "]");
    const std::string& name = config.tenants(i).name();
    if (!IsName(name)) return Bad(field, ".name: expected [A-Za-z0-9_.-]{1,64}");
    if (!names.insert(name).second) return Bad(field, ".name: '", name, "' is there twice");
    status = CheckTenant(field, config.tenants(i));
  }
  return status;
}

// Whether a URL is http:// to this machine. What stands before an '@' is no host, so such a URL is
// not.
bool IsPlainToLoopback(absl::string_view url) {
  if (!absl::ConsumePrefix(&url, "http://")) return false;
  const absl::string_view authority = url.substr(0, url.find_first_of("/?#"));
  if (absl::StrContains(authority, "@")) return false;
  if (absl::StartsWith(authority, "[")) {
    const size_t end = authority.find(']');
    return end != authority.npos && IsLoopback(authority.substr(1, end - 1));
  }
  return IsLoopback(authority.substr(0, authority.find(':')));
}

absl::Status CheckDestination(const std::string& field, const v1::DestinationConfig& destination) {
  if (!IsName(destination.name())) return Bad(field, ".name: expected [A-Za-z0-9_.-]{1,64}");
  if (destination.has_c_store()) {
    const v1::CStoreDestination& c_store = destination.c_store();
    if (c_store.host().empty()) return Bad(field, ".c_store.host: is required");
    return FirstError({InRange<uint32_t>(field + ".c_store.port", c_store.port(), 1, 65535),
                       InRange<size_t>(field + ".c_store.called_ae_title (length)",
                                       c_store.called_ae_title().size(), 1, 16),
                       InRange<size_t>(field + ".c_store.calling_ae_title (length)",
                                       c_store.calling_ae_title().size(), 1, 16)});
  }
  if (destination.has_stow_rs()) {
    const std::string& url = destination.stow_rs().url();
    if (!absl::StartsWith(url, "https://") && !IsPlainToLoopback(url)) {
      return Bad(field, ".stow_rs.url: expected https://..., or http:// to loopback");
    }
    return absl::OkStatus();
  }
  return Bad(field, ": expected c_store or stow_rs");
}

absl::Status CheckDestinations(const v1::ServerConfig& config) {
  std::set<std::string> names;
  for (int i = 0; i < config.destinations_size(); ++i) {
    const std::string field = absl::StrCat("destinations[", i, "]");
    const absl::Status status = CheckDestination(field, config.destinations(i));
    if (!status.ok()) return status;
    if (!names.insert(config.destinations(i).name()).second) {
      return Bad(field, ".name: '", config.destinations(i).name(), "' is there twice");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWork(const v1::ServerConfig& config) {
  const v1::StreamsConfig& streams = config.streams();
  return FirstError(
      {InRange<uint32_t>("workers.workers_per_device", config.workers().workers_per_device(), 1,
                         64),
       InRange<uint32_t>("workers.threads_per_worker", config.workers().threads_per_worker(), 0,
                         1024),
       InRange<int>("workers.devices (number)", config.workers().devices_size(), 1, 64),
       AtLeast("workers.watchdog_timeout", config.workers().watchdog_timeout(), absl::Seconds(1)),
       InRange<uint32_t>("queue.max_requests", config.queue().max_requests(), 1, 1000000),
       InRange<uint64_t>("queue.max_bytes", config.queue().max_bytes(), 1 << 20, 1ULL << 50),
       AtLeast("queue.ageing_interval", config.queue().ageing_interval(), absl::Milliseconds(1)),
       InRange<uint64_t>("streams.buffer_bytes", streams.buffer_bytes(), 64 << 10, 1ULL << 40),
       InRange<uint32_t>("streams.chunk_bytes", streams.chunk_bytes(), 64 << 10, 3 << 20),
       InRange<uint32_t>("streams.max_volumes_per_request", streams.max_volumes_per_request(), 1,
                         1000000),
       AtLeast("streams.slow_reader_timeout", streams.slow_reader_timeout(),
               absl::Milliseconds(100))});
}

absl::Status CheckConnections(const v1::ConnectionsConfig& connections) {
  return FirstError(
      {InRange<uint32_t>("connections.max_request_bytes", connections.max_request_bytes(), 1024,
                         64 << 20),
       InRange<uint32_t>("connections.max_metadata_bytes", connections.max_metadata_bytes(), 1024,
                         1 << 20),
       InRange<uint32_t>("connections.max_connections", connections.max_connections(), 1, 1000000),
       InRange<uint32_t>("connections.max_streams_per_connection",
                         connections.max_streams_per_connection(), 1, 100000),
       InRange<uint64_t>("connections.max_transport_bytes", connections.max_transport_bytes(),
                         16 << 20, 1ULL << 40),
       AtLeast("connections.max_idle", connections.max_idle(), absl::Seconds(1)),
       AtLeast("connections.max_age", connections.max_age(), absl::Seconds(1)),
       AtLeast("connections.keepalive_interval", connections.keepalive_interval(),
               absl::Seconds(1)),
       AtLeast("connections.keepalive_timeout", connections.keepalive_timeout(), absl::Seconds(1)),
       AtLeast("connections.handshake_timeout", connections.handshake_timeout(),
               absl::Seconds(1))});
}

}  // namespace

absl::Status CheckConfig(const v1::ServerConfig& config) {
  if (config.model_repository().empty()) {
    return Bad("model_repository: is required (--model-repository DIR)");
  }
  return FirstError(
      {CheckListen(config), config.has_tls() ? CheckTls(config.tls()) : absl::OkStatus(),
       CheckAuth(config.auth()),
       AtLeast("models.poll_interval", config.models().poll_interval(), absl::ZeroDuration()),
       OneOf("models.render_mode", config.models().render_mode(), {"fast", "bounded"}),
       OneOf("plausibility.mode", config.plausibility().mode(), {"off", "tag", "redraw"}),
       InRange<uint32_t>("plausibility.max_redraws", config.plausibility().max_redraws(), 1, 100),
       CheckWork(config), CheckTenants(config), CheckConnections(config.connections()),
       AtLeast("drain_grace", config.drain_grace(), absl::ZeroDuration()),
       CheckDestinations(config),
       OneOf("log.level", config.log().level(), {"debug", "info", "warning", "error"})});
}

}  // namespace synthvol::server
