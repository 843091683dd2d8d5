// gRPC statuses as Abseil ones, and what their google.rpc details say about trying again.
//
// Pure functions.
#ifndef SYNTHVOL_CLIENT_RPC_STATUS_H_
#define SYNTHVOL_CLIENT_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace synthvol::client {

// Converts code and message; a google.rpc.Status in the details goes along as a payload.
absl::Status FromGrpcStatus(const grpc::Status& status);

// Returns google.rpc.RetryInfo's delay when the status carries one.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

// Returns google.rpc.ErrorInfo's reason, e.g. "QUEUE_FULL"; empty when there is none.
std::string ErrorReason(const absl::Status& status);

// Whether RetryPolicy allows another attempt after `status`.
bool IsRetriable(const absl::Status& status);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_RPC_STATUS_H_
