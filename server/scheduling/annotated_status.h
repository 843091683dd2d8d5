// Facts that ride on an absl::Status from where a request is refused to where the refusal becomes
// an answer: a reason, when to come back, which quota, which field.
//
// Free functions; a status is a value. Annotating an OK status does nothing.
#ifndef SYNTHVOL_SERVER_SCHEDULING_ANNOTATED_STATUS_H_
#define SYNTHVOL_SERVER_SCHEDULING_ANNOTATED_STATUS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace synthvol::server {

// Annotates with a machine-readable reason in UPPER_SNAKE_CASE, e.g. "QUEUE_FULL".
absl::Status WithReason(absl::Status status, absl::string_view reason);
// Annotates with the time after which trying again makes sense.
absl::Status WithRetryAfter(absl::Status status, absl::Duration retry_after);
// Annotates with the quota that is used up, e.g. "tenant:radiology".
absl::Status WithQuotaSubject(absl::Status status, absl::string_view subject);
// Annotates with the path of the request's field that is wrong, e.g.
// "dicom.attributes.patient_sex".
absl::Status WithField(absl::Status status, absl::string_view field);

// Each returns what was annotated, if anything.
std::optional<std::string> ReasonOf(const absl::Status& status);
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);
std::optional<std::string> QuotaSubjectOf(const absl::Status& status);
std::optional<std::string> FieldOf(const absl::Status& status);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SCHEDULING_ANNOTATED_STATUS_H_
