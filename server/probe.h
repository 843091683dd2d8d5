// The health check client behind --probe, for Docker's HEALTHCHECK and scripts.
#ifndef SYNTHVOL_SERVER_PROBE_H_
#define SYNTHVOL_SERVER_PROBE_H_

#include <string>

#include "absl/status/status.h"

namespace synthvol::server {

// Asks grpc.health.v1.Health/Check at `target` for `service`; with `ca_file` over TLS. OK when it
// is SERVING; UNAVAILABLE says what it is instead, within five seconds.
absl::Status Probe(const std::string& target, const std::string& service,
                   const std::string& ca_file);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_PROBE_H_
