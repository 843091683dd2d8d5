// What a Client is made with: where the servers are, who is asking, and how patient it is.
//
// Plain values.
#ifndef SYNTHVOL_CLIENT_OPTIONS_H_
#define SYNTHVOL_CLIENT_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace synthvol::client {

// Transport security. Files are PEM, read once when the client is made.
struct TlsOptions {
  // Off: plain text, for a server on the same machine or behind a mesh.
  bool enabled = false;
  // Certificates to trust; empty means the system's.
  std::string ca_file;
  // Both or neither: this client's certificate and key (mutual TLS).
  std::string certificate_file;
  std::string key_file;
  // Name that the server's certificate must carry, when it is not the endpoint's host.
  std::string server_name;
};

// When to try again. UNAVAILABLE, ABORTED, INTERNAL, UNKNOWN, a damaged or broken stream, and
// RESOURCE_EXHAUSTED that carries google.rpc.RetryInfo are tried again; every other code is not.
struct RetryPolicy {
  // Attempts in a row that brought no new byte before the call gives up; 1 means no retry.
  int max_attempts = 8;
  // First pause; doubles per failed attempt. A RetryInfo of the server overrides it.
  absl::Duration initial_backoff = absl::Milliseconds(200);
  absl::Duration max_backoff = absl::Seconds(30);
  // Pauses are drawn from [1 - jitter, 1 + jitter] times their length; a RetryInfo pause is never
  // shortened.
  double jitter = 0.25;
};

struct ClientOptions {
  // HOST:PORT each. Calls start at them in turn; one that fails is passed over until its pause is
  // up.
  std::vector<std::string> endpoints;
  TlsOptions tls;
  // Bearer token sent with every call; empty sends none.
  std::string token;
  // File that holds the token, read before each attempt so that a rotated token is picked up. Wins
  // over `token`.
  std::string token_file;
  RetryPolicy retry;
  // Time between HTTP/2 keepalive pings while a call runs; zero sends none. Finds a peer that
  // vanished without closing; a server may refuse pings that come too often.
  absl::Duration keepalive = absl::ZeroDuration();
  // Goes in front of gRPC's user agent.
  std::string user_agent = "synthvol-client";
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_OPTIONS_H_
