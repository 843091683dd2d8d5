// What belongs to every call: its identity for logs, and its one line when it ends.
#ifndef SYNTHVOL_SERVER_RPC_CALL_H_
#define SYNTHVOL_SERVER_RPC_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/metrics/server_metrics.h"

namespace synthvol::server {

// Who asked for what; plain values.
struct Call {
  std::string method;
  std::string request_id;
  // From a valid W3C traceparent, else empty.
  std::string trace_id;
  std::string tenant;
  std::string model;
  int64_t version = 0;
  uint32_t count = 0;
  absl::Time begin;
};

// Begins a call: takes its trace from the metadata.
Call BeginCall(const grpc::ServerContextBase& context, const std::string& method);

// Returns a fresh request id.
std::string NewRequestId();

// Returns the trace id of a W3C traceparent, or "" when it is not one.
std::string ParseTraceId(absl::string_view traceparent);

// Counts and logs the end of a call.
void EndCall(const Call& call, const absl::Status& status, ServerMetrics& metrics,
             uint64_t stream_bytes = 0);

// Ends a unary call: counts it, logs it, answers it.
grpc::ServerUnaryReactor* FinishUnary(grpc::CallbackServerContext& context, const Call& call,
                                      const absl::Status& status, ServerMetrics& metrics);

// Returns the deadline of a call, InfiniteFuture when it has none.
absl::Time DeadlineOf(const grpc::ServerContextBase& context);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_CALL_H_
