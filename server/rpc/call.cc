#include "server/rpc/call.h"

#include <algorithm>
#include <chrono>

#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "server/logging/log.h"
#include "server/rpc/grpc_status.h"

namespace synthvol::server {
namespace {

bool IsLowerHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

std::string NewRequestId() {
  thread_local absl::BitGen bits;
  return absl::StrFormat("%016x%016x", absl::Uniform<uint64_t>(bits),
                         absl::Uniform<uint64_t>(bits));
}

// W3C Trace Context, section 3.2: version "-" trace-id "-" parent-id "-" flags, of 2, 32, 16 and 2
// digits; all zeros is invalid.
std::string ParseTraceId(absl::string_view traceparent) {
  if (traceparent.size() < 55 || traceparent[2] != '-' || traceparent[35] != '-' ||
      traceparent[52] != '-') {
    return "";
  }
  const absl::string_view version = traceparent.substr(0, 2);
  const absl::string_view trace_id = traceparent.substr(3, 32);
  const bool known_length = version != "00" || traceparent.size() == 55;
  if (!IsLowerHex(version) || version == "ff" || !known_length || !IsLowerHex(trace_id) ||
      trace_id.find_first_not_of('0') == absl::string_view::npos) {
    return "";
  }
  return std::string(trace_id);
}

Call BeginCall(const grpc::ServerContextBase& context, const std::string& method) {
  Call call;
  call.method = method;
  call.begin = absl::Now();
  const auto& metadata = context.client_metadata();
  if (const auto it = metadata.find("traceparent"); it != metadata.end()) {
    call.trace_id = ParseTraceId(absl::string_view(it->second.data(), it->second.size()));
  }
  return call;
}

void EndCall(const Call& call, const absl::Status& status, ServerMetrics& metrics,
             uint64_t stream_bytes) {
  const std::string code = CodeName(status.code());
  const std::string reason = status.ok() ? "" : ErrorReason(status);
  metrics.ObserveEnd(call.method, code, reason);
  const bool ours =
      status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown;
  Log(ours ? LogLevel::kError : LogLevel::kInfo, "call",
      {{"method", call.method},
       {"request_id", call.request_id},
       {"trace_id", call.trace_id},
       {"tenant", call.tenant},
       {"model", call.model},
       {"version", call.version},
       {"count", static_cast<int64_t>(call.count)},
       {"code", code},
       {"reason", reason},
       {"message", std::string(status.message())},
       {"seconds", absl::ToDoubleSeconds(absl::Now() - call.begin)},
       {"bytes", static_cast<int64_t>(stream_bytes)}});
}

absl::Time DeadlineOf(const grpc::ServerContextBase& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

grpc::ServerUnaryReactor* FinishUnary(grpc::CallbackServerContext& context, const Call& call,
                                      const absl::Status& status, ServerMetrics& metrics) {
  EndCall(call, status, metrics);
  grpc::ServerUnaryReactor* const reactor = context.DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace synthvol::server
