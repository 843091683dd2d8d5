// TLS of the gRPC service.
#ifndef SYNTHVOL_SERVER_SECURITY_CREDENTIALS_H_
#define SYNTHVOL_SERVER_SECURITY_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "synthvol/v1/server_config.pb.h"

namespace synthvol::server {

// Makes the credentials of a configuration: plaintext without `tls`, otherwise TLS, or mTLS with
// `client_ca_file`, from files that are read again at the configured interval. INVALID_ARGUMENT
// names a file that cannot be used: unreadable, not PEM, a key that does not fit, expired.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const v1::ServerConfig& config);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SECURITY_CREDENTIALS_H_
