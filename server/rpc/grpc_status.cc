#include "server/rpc/grpc_status.h"

#include <google/protobuf/any.pb.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

std::string PublicMessage(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown) {
    return "internal error; the server's log has the request id";
  }
  return std::string(status.message());
}

}  // namespace

std::string CodeName(absl::StatusCode code) {
  return code == absl::StatusCode::kOk ? "OK" : absl::StatusCodeToString(code);
}

std::string ErrorReason(const absl::Status& status) {
  return ReasonOf(status).value_or(CodeName(status.code()));
}

absl::Status BadField(absl::string_view path, absl::string_view expected) {
  return WithReason(WithField(absl::InvalidArgumentError(absl::StrCat(path, ": ", expected)), path),
                    "BAD_FIELD");
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = PublicMessage(status);
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(message);

  google::rpc::ErrorInfo info;
  info.set_domain("synthvol");
  info.set_reason(ErrorReason(status));
  wire.add_details()->PackFrom(info);
  if (const std::optional<std::string> field = FieldOf(status)) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(*field);
    violation->set_description(message);
    wire.add_details()->PackFrom(bad);
  }
  if (const std::optional<std::string> subject = QuotaSubjectOf(status)) {
    google::rpc::QuotaFailure quota;
    auto* violation = quota.add_violations();
    violation->set_subject(*subject);
    violation->set_description(message);
    wire.add_details()->PackFrom(quota);
  }
  if (const std::optional<absl::Duration> after = RetryAfterOf(status)) {
    google::rpc::RetryInfo retry;
    const int64_t microseconds = absl::ToInt64Microseconds(*after);
    retry.mutable_retry_delay()->set_seconds(microseconds / 1000000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(microseconds % 1000000) * 1000);
    wire.add_details()->PackFrom(retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      wire.SerializeAsString());
}

}  // namespace synthvol::server
