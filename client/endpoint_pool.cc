#include "client/endpoint_pool.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/atomic_file.h"
#include "base/version.h"
#include "client/channel_arguments.h"

namespace synthvol::client {
namespace {

constexpr uint64_t kLargestSecretFile = 1 << 20;
// A chunk is at most 3 MiB; a server that sends more is refused.
constexpr int kLargestMessage = 4 << 20;

absl::Status CheckEndpoint(const std::string& endpoint) {
  const size_t colon = endpoint.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 ||
      endpoint.find_first_of(" ,/@") != std::string::npos ||
      !absl::SimpleAtoi(endpoint.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("server '", endpoint, "': expected HOST:PORT with a port of 1..65535"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const TlsOptions& tls) {
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError("TLS: a client certificate and its key go together");
  }
  grpc::SslCredentialsOptions options;
  const std::pair<const std::string&, std::string*> files[] = {
      {tls.ca_file, &options.pem_root_certs},
      {tls.certificate_file, &options.pem_cert_chain},
      {tls.key_file, &options.pem_private_key}};
  for (const auto& [path, text] : files) {
    if (path.empty()) continue;
    absl::StatusOr<std::string> content = ReadFile(path, kLargestSecretFile);
    if (!content.ok()) return content.status();
    if (content->find("-----BEGIN") == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not a PEM file"));
    }
    *text = *std::move(content);
  }
  return grpc::SslCredentials(options);
}

}  // namespace

absl::Duration Backoff(const RetryPolicy& policy, int failures) {
  const double factor = std::pow(2.0, std::clamp(failures - 1, 0, 30));
  return std::min(policy.max_backoff, policy.initial_backoff * factor);
}

absl::StatusOr<std::unique_ptr<EndpointPool>> EndpointPool::Create(const ClientOptions& options) {
  if (options.endpoints.empty()) {
    return absl::InvalidArgumentError("no server: expected at least one HOST:PORT");
  }
  if (options.retry.max_attempts < 1) {
    return absl::InvalidArgumentError("retry.max_attempts: expected at least 1");
  }
  absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> credentials =
      MakeCredentials(options.tls);
  if (!credentials.ok()) return credentials.status();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kLargestMessage);
  arguments.SetUserAgentPrefix(absl::StrCat(options.user_agent, "/", Version()));
  SetStreamArguments(arguments);
  // The pool does the pausing; the channel's own should not outlast it.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Retries happen here, where resuming is known about.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Two clients of one process do not share a connection: parallel streams get their own.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (options.keepalive > absl::ZeroDuration()) {
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                     static_cast<int>(absl::ToInt64Milliseconds(options.keepalive)));
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  }
  if (options.tls.enabled && !options.tls.server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls.server_name);
  }
  std::vector<Endpoint> endpoints;
  for (const std::string& address : options.endpoints) {
    if (absl::Status status = CheckEndpoint(address); !status.ok()) return status;
    endpoints.push_back({address, grpc::CreateCustomChannel(address, *credentials, arguments)});
  }
  auto pool = std::unique_ptr<EndpointPool>(new EndpointPool(options, std::move(endpoints)));
  grpc::ClientContext probe;
  if (absl::Status status = pool->Authorize(probe); !status.ok()) return status;
  return pool;
}

EndpointPool::EndpointPool(ClientOptions options, std::vector<Endpoint> endpoints)
    : options_(std::move(options)), endpoints_(std::move(endpoints)), health_(endpoints_.size()) {}

EndpointPool::Choice EndpointPool::Choose() {
  const absl::MutexLock lock(&mutex_);
  const absl::Time now = absl::Now();
  size_t best = turn_ % endpoints_.size();
  for (size_t step = 0; step < endpoints_.size(); ++step) {
    const size_t candidate = (turn_ + step) % endpoints_.size();
    if (health_[candidate].not_before <= now) {
      best = candidate;
      break;
    }
    if (health_[candidate].not_before < health_[best].not_before) best = candidate;
  }
  turn_ = best + 1;
  return {&endpoints_[best], std::max(absl::ZeroDuration(), health_[best].not_before - now)};
}

void EndpointPool::ReportFailure(const Endpoint& endpoint, const absl::Duration* retry_delay) {
  // Its own generator: many clients that fail together must not come back together.
  thread_local absl::BitGen random;
  const double jitter = std::clamp(options_.retry.jitter, 0.0, 1.0);
  const absl::MutexLock lock(&mutex_);
  Health& health = health_[static_cast<size_t>(&endpoint - endpoints_.data())];
  ++health.failures;
  const absl::Duration pause =
      retry_delay != nullptr
          ? *retry_delay * absl::Uniform(absl::IntervalClosed, random, 1.0, 1.0 + jitter)
          : Backoff(options_.retry, health.failures) *
                absl::Uniform(absl::IntervalClosed, random, 1.0 - jitter, 1.0 + jitter);
  health.not_before = absl::Now() + pause;
}

void EndpointPool::ReportSuccess(const Endpoint& endpoint) {
  const absl::MutexLock lock(&mutex_);
  health_[static_cast<size_t>(&endpoint - endpoints_.data())] = Health{};
}

absl::Status EndpointPool::Authorize(grpc::ClientContext& context) const {
  std::string token = options_.token;
  if (!options_.token_file.empty()) {
    absl::StatusOr<std::string> content = ReadFile(options_.token_file, kLargestSecretFile);
    if (!content.ok()) return content.status();
    token = std::string(absl::StripAsciiWhitespace(*content));
    if (token.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(options_.token_file, ": holds no token"));
    }
  }
  if (token.empty()) return absl::OkStatus();
  // A line break or a stray byte would make gRPC abort the call without a word.
  if (std::any_of(token.begin(), token.end(), [](char c) { return c <= ' ' || c > '~'; })) {
    return absl::InvalidArgumentError("token: expected printable characters without spaces");
  }
  context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
  return absl::OkStatus();
}

}  // namespace synthvol::client
