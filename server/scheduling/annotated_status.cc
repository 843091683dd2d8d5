#include "server/scheduling/annotated_status.h"

#include <cstdint>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace synthvol::server {
namespace {

constexpr char kReasonUrl[] = "synthvol/reason";
constexpr char kRetryAfterUrl[] = "synthvol/retry-after-us";
constexpr char kQuotaSubjectUrl[] = "synthvol/quota-subject";
constexpr char kFieldUrl[] = "synthvol/field";

absl::Status With(absl::Status status, const char* url, absl::string_view value) {
  if (!status.ok()) status.SetPayload(url, absl::Cord(value));
  return status;
}

std::optional<std::string> Get(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

}  // namespace

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  return With(std::move(status), kReasonUrl, reason);
}

absl::Status WithRetryAfter(absl::Status status, absl::Duration retry_after) {
  return With(std::move(status), kRetryAfterUrl,
              absl::StrCat(absl::ToInt64Microseconds(retry_after)));
}

absl::Status WithQuotaSubject(absl::Status status, absl::string_view subject) {
  return With(std::move(status), kQuotaSubjectUrl, subject);
}

absl::Status WithField(absl::Status status, absl::string_view field) {
  return With(std::move(status), kFieldUrl, field);
}

std::optional<std::string> ReasonOf(const absl::Status& status) { return Get(status, kReasonUrl); }

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const std::optional<std::string> text = Get(status, kRetryAfterUrl);
  int64_t microseconds = 0;
  if (!text.has_value() || !absl::SimpleAtoi(*text, &microseconds)) return std::nullopt;
  return absl::Microseconds(microseconds);
}

std::optional<std::string> QuotaSubjectOf(const absl::Status& status) {
  return Get(status, kQuotaSubjectUrl);
}

std::optional<std::string> FieldOf(const absl::Status& status) { return Get(status, kFieldUrl); }

}  // namespace synthvol::server
