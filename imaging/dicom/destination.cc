#include "imaging/dicom/destination.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "imaging/dicom/c_store_delivery.h"
#include "imaging/dicom/stow_delivery.h"
#include "imaging/dicom/value_representation.h"

namespace synthvol::imaging::dicom {
namespace {

absl::string_view Abseil(std::string_view text) { return {text.data(), text.size()}; }

absl::Status CheckFile(const char* field, const std::string& path) {
  if (path.empty() || access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, ": cannot read ", path));
}

absl::Status CheckTls(const TlsOptions& tls) {
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError("tls certificate and key: expected both or none");
  }
  for (const absl::Status& status :
       {CheckFile("tls CA file", tls.ca_file), CheckFile("tls certificate", tls.certificate_file),
        CheckFile("tls key", tls.key_file)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckRetry(const RetryOptions& retry) {
  if (retry.max_attempts < 1 || retry.max_attempts > 100) {
    return absl::InvalidArgumentError("attempts: expected 1..100");
  }
  if (retry.initial_backoff < absl::ZeroDuration() || retry.max_backoff < retry.initial_backoff ||
      retry.max_backoff == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError("backoff: expected 0 <= first <= longest");
  }
  for (const absl::Duration timeout : {retry.connect_timeout, retry.response_timeout}) {
    if (timeout < absl::Seconds(1) || timeout > absl::Hours(1)) {
      return absl::InvalidArgumentError("timeouts: expected 1 s .. 1 h");
    }
  }
  return absl::OkStatus();
}

bool IsHostName(std::string_view host) {
  return !host.empty() && host.size() <= 253 && host.front() != '-' &&
         std::all_of(host.begin(), host.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
         });
}

absl::Status CheckCStore(const DestinationConfig& config) {
  if (!IsHostName(config.host)) {
    return absl::InvalidArgumentError("host: expected a host name or IPv4 address");
  }
  if (config.port < 1 || config.port > 65535) {
    return absl::InvalidArgumentError("port: expected 1..65535");
  }
  for (const absl::Status& status :
       {CheckValue("called AE title", Vr::kAe, config.called_ae_title),
        CheckValue("calling AE title", Vr::kAe, config.calling_ae_title)}) {
    if (!status.ok()) return status;
  }
  if (config.associations < 1 || config.associations > 16) {
    return absl::InvalidArgumentError("associations: expected 1..16");
  }
  if (config.commitment_timeout < absl::ZeroDuration() ||
      config.commitment_timeout > absl::Hours(24)) {
    return absl::InvalidArgumentError("commitment timeout: expected 0 .. 24 h");
  }
  if (config.commitment_port < 0 || config.commitment_port > 65535) {
    return absl::InvalidArgumentError("commitment port: expected 0..65535");
  }
  if (config.commitment_port != 0 && config.tls.enabled && config.tls.certificate_file.empty()) {
    return absl::InvalidArgumentError(
        "commitment port: a peer that connects to us by TLS needs our certificate and key");
  }
  return absl::OkStatus();
}

absl::Status CheckStow(const DestinationConfig& config) {
  const bool https = absl::StartsWith(config.url, "https://");
  const bool http = absl::StartsWith(config.url, "http://");
  if (!https && !http) return absl::InvalidArgumentError("url: expected http:// or https://");
  const bool printable = std::all_of(config.url.begin(), config.url.end(),
                                     [](unsigned char c) { return absl::ascii_isgraph(c); });
  const std::string rest = config.url.substr(https ? 8 : 7);
  const std::string authority = rest.substr(0, rest.find('/'));
  if (!printable || authority.empty() || absl::StrContains(rest, "?") ||
      absl::StrContains(rest, "#")) {
    return absl::InvalidArgumentError(
        "url: expected the root of a DICOMweb service, without query and blanks");
  }
  if (absl::StrContains(authority, "@")) {
    return absl::InvalidArgumentError("url: expected no credentials in it; give user and password");
  }
  if (!config.bearer_token.empty() && !config.username.empty()) {
    return absl::InvalidArgumentError("token and user name: expected at most one of them");
  }
  for (const std::string* secret : {&config.bearer_token, &config.username, &config.password}) {
    // A line break would start another header.
    if (std::any_of(secret->begin(), secret->end(),
                    [](unsigned char c) { return absl::ascii_iscntrl(c); })) {
      return absl::InvalidArgumentError("token, user and password: expected no control characters");
    }
  }
  return absl::OkStatus();
}

std::string DisplayName(const DestinationConfig& config) {
  if (!config.name.empty()) return config.name;
  if (config.kind == DestinationKind::kStowRs) return config.url;
  return absl::StrCat(config.called_ae_title, "@", config.host, ":", config.port);
}

class ConfiguredDestination : public Destination {
 public:
  explicit ConfiguredDestination(DestinationConfig config) : config_(std::move(config)) {
    config_.name = DisplayName(config_);
  }

  absl::StatusOr<std::unique_ptr<Delivery>> Begin(ProgressCallback progress) const override {
    if (config_.kind == DestinationKind::kStowRs) return BeginStow(config_, std::move(progress));
    return BeginCStore(config_, std::move(progress));
  }
  const std::string& name() const override { return config_.name; }

 private:
  DestinationConfig config_;
};

}  // namespace

absl::StatusOr<DestinationConfig> ParseDestination(std::string_view text) {
  DestinationConfig config;
  if (absl::StrContains(Abseil(text), "://")) {
    config.kind = DestinationKind::kStowRs;
    config.url = std::string(absl::StripSuffix(Abseil(text), "/"));
  } else {
    const size_t at = text.rfind('@');
    const size_t colon = text.rfind(':');
    if (at == std::string_view::npos || colon == std::string_view::npos || colon < at ||
        !absl::SimpleAtoi(Abseil(text.substr(colon + 1)), &config.port)) {
      return absl::InvalidArgumentError(
          "destination: expected AETITLE@HOST:PORT (C-STORE) or http(s)://HOST/PATH (STOW-RS)");
    }
    config.called_ae_title = std::string(text.substr(0, at));
    config.host = std::string(text.substr(at + 1, colon - at - 1));
  }
  if (absl::Status status = Validate(config); !status.ok()) return status;
  return config;
}

absl::Status Validate(const DestinationConfig& config) {
  if (absl::Status status = CheckRetry(config.retry); !status.ok()) return status;
  if (absl::Status status = CheckTls(config.tls); !status.ok()) return status;
  return config.kind == DestinationKind::kStowRs ? CheckStow(config) : CheckCStore(config);
}

absl::StatusOr<std::unique_ptr<Destination>> Destination::Create(const DestinationConfig& config) {
  if (absl::Status status = Validate(config); !status.ok()) return status;
  return std::make_unique<ConfiguredDestination>(config);
}

}  // namespace synthvol::imaging::dicom
