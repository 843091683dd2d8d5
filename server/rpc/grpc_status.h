// The one place where a status becomes what a caller sees.
#ifndef SYNTHVOL_SERVER_RPC_GRPC_STATUS_H_
#define SYNTHVOL_SERVER_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace synthvol::server {

// Converts a status with its annotations (scheduling/annotated_status.h) into a gRPC status with
// google.rpc.ErrorInfo (always; domain "synthvol"), BadRequest, QuotaFailure and RetryInfo.
// INTERNAL and UNKNOWN lose their message, which may name things that are not the caller's: logs
// have it.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Returns the reason that ErrorInfo carries: the annotated one, otherwise the code's name.
std::string ErrorReason(const absl::Status& status);

// Returns "RESOURCE_EXHAUSTED" and the like, "OK" for success.
std::string CodeName(absl::StatusCode code);

// Returns INVALID_ARGUMENT for the field of a request at `path`.
absl::Status BadField(absl::string_view path, absl::string_view expected);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_GRPC_STATUS_H_
