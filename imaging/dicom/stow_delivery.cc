#include "imaging/dicom/stow_delivery.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "imaging/dicom/delivery_tracker.h"
#include "imaging/dicom/http_post.h"
#include "imaging/dicom/spool_file.h"

namespace synthvol::imaging::dicom {
namespace {

// Long and odd enough not to stand in an image by chance: 128 random-looking bits, fixed so that a
// request is a pure function of its series.
constexpr char kBoundary[] = "synthvol-6f1c0a4be27d4c53a98e5d20b7e41c96";
constexpr char kFailureReason[] = "00081197";          // (0008,1197)
constexpr char kFailedSopSequence[] = "00081198";      // (0008,1198)
constexpr char kReferencedSopSequence[] = "00081199";  // (0008,1199)
constexpr int kOutOfResources = 0xA700;

// What a store response (PS3.18 table I.2-1, DICOM JSON) says.
struct StoreResponse {
  // Whether it says anything; a body is optional.
  bool present = false;
  int64_t stored = 0;
  int64_t failed = 0;
  int first_reason = 0;
};

// Returns the items of a sequence of a dataset in DICOM JSON (PS3.18 F.2.2).
nlohmann::json Items(const nlohmann::json& dataset, const char* tag) {
  const nlohmann::json::json_pointer path(absl::StrCat("/", tag, "/Value"));
  if (!dataset.contains(path) || !dataset[path].is_array()) return nlohmann::json::array();
  return dataset[path];
}

StoreResponse ParseStoreResponse(const std::string& body) {
  StoreResponse response;
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return response;
  response.present = json.contains(kReferencedSopSequence) || json.contains(kFailedSopSequence);
  response.stored = static_cast<int64_t>(Items(json, kReferencedSopSequence).size());
  const nlohmann::json failed = Items(json, kFailedSopSequence);
  response.failed = static_cast<int64_t>(failed.size());
  const nlohmann::json::json_pointer reason(absl::StrCat("/0/", kFailureReason, "/Value/0"));
  if (failed.contains(reason) && failed[reason].is_number_integer()) {
    response.first_reason = failed[reason].get<int>();
  }
  return response;
}

// PS3.18 table 10.5.3-1 and section 8.5.
absl::Status FromAnswer(const std::string& name, int64_t instances, const HttpAnswer& answer) {
  const StoreResponse response = ParseStoreResponse(answer.body);
  const std::string text = absl::StrCat(name, ": HTTP ", answer.code);
  if (response.failed > 0) {
    const std::string refused =
        absl::StrCat(text, ": ", response.failed, " of ", instances, " instances refused, reason ",
                     absl::StrFormat("0x%04X", static_cast<unsigned>(response.first_reason)));
    if ((response.first_reason & 0xFF00) == kOutOfResources) {
      return absl::ResourceExhaustedError(absl::StrCat(refused, ": out of resources"));
    }
    // 0x0110 is a processing failure, which may pass.
    return response.first_reason == 0x0110 ? absl::UnavailableError(refused)
                                           : absl::FailedPreconditionError(refused);
  }
  if (answer.code >= 200 && answer.code < 300) {
    // Some servers drop what they do not like without naming it.
    if (!response.present || response.stored >= instances) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(text, ": only ", response.stored, " of ", instances,
                                               " instances were acknowledged"));
  }
  if (answer.code >= 300 && answer.code < 400) {
    return absl::FailedPreconditionError(
        absl::StrCat(text, ": redirections are not followed; configure the URL ", answer.location));
  }
  switch (answer.code) {
    case 401:
      return absl::UnauthenticatedError(absl::StrCat(text, ": wrong or missing credentials"));
    case 403:
      return absl::PermissionDeniedError(absl::StrCat(text, ": not allowed to store"));
    case 404:
    case 405:
      return absl::FailedPreconditionError(absl::StrCat(text, ": there is no STOW-RS service"));
    case 413:
      return absl::FailedPreconditionError(absl::StrCat(text, ": the request is too large for it"));
    case 507:
      return absl::ResourceExhaustedError(absl::StrCat(text, ": out of storage"));
    case 408:
    case 429:
      return absl::UnavailableError(absl::StrCat(text, ": busy"));
    default:
      break;
  }
  return answer.code >= 500 ? absl::UnavailableError(absl::StrCat(text, ": server error"))
                            : absl::FailedPreconditionError(absl::StrCat(text, ": refused"));
}

class StowDelivery : public Delivery {
 public:
  StowDelivery(DestinationConfig config, SpoolFile file, ProgressCallback progress)
      : config_(std::move(config)), tracker_(std::move(progress)), file_(std::move(file)) {}

  absl::Status Store(OutgoingInstance instance) override {
    if (tracker_.cancelled()) return absl::CancelledError("delivery cancelled");
    // The syntax stands in the file; Orthanc ignores parts that name it here too.
    absl::Status status =
        file_.Append(absl::StrCat("--", kBoundary, "\r\nContent-Type: application/dicom\r\n\r\n"));
    if (status.ok()) status = file_.Append(instance.bytes);
    if (status.ok()) status = file_.Append("\r\n");
    ++instances_;
    return status;
  }

  absl::StatusOr<DeliveryProgress> Finish() override {
    if (instances_ == 0) return tracker_.progress();
    if (absl::Status s = file_.Append(absl::StrCat("--", kBoundary, "--\r\n")); !s.ok()) return s;
    const std::vector<std::string> headers = {
        absl::StrCat("Content-Type: multipart/related; type=\"application/dicom\"; boundary=",
                     kBoundary),
        "Accept: application/dicom+json"};
    const absl::Status status = tracker_.WithRetries(config_.retry, [&]() -> absl::Status {
      absl::StatusOr<HttpAnswer> answer =
          HttpPost(config_, config_.url + "/studies", headers, file_, tracker_);
      if (!answer.ok()) return answer.status();
      return FromAnswer(config_.name, instances_, *answer);
    });
    if (!status.ok()) return status;
    tracker_.AddStored(instances_);
    return tracker_.progress();
  }

  void Cancel() override { tracker_.Cancel(); }

 private:
  const DestinationConfig config_;
  DeliveryTracker tracker_;
  SpoolFile file_;
  int64_t instances_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Delivery>> BeginStow(const DestinationConfig& config,
                                                    ProgressCallback progress) {
  absl::StatusOr<SpoolFile> file = SpoolFile::Create();
  if (!file.ok()) return file.status();
  return std::make_unique<StowDelivery>(config, *std::move(file), std::move(progress));
}

}  // namespace synthvol::imaging::dicom
