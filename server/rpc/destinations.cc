#include "server/rpc/destinations.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/atomic_file.h"

namespace synthvol::server {
namespace {

namespace dicom = imaging::dicom;

constexpr uint64_t kMaxCredentialBytes = 64 << 10;
constexpr absl::Duration kCommitmentTimeout = absl::Minutes(2);

dicom::DestinationConfig ToCStore(const v1::CStoreDestination& in) {
  dicom::DestinationConfig out;
  out.kind = dicom::DestinationKind::kCStore;
  out.host = in.host();
  out.port = static_cast<int>(in.port());
  out.called_ae_title = in.called_ae_title();
  out.calling_ae_title = in.calling_ae_title();
  out.tls.enabled = !in.tls_ca_file().empty();
  out.tls.ca_file = in.tls_ca_file();
  out.tls.certificate_file = in.tls_certificate_file();
  out.tls.key_file = in.tls_private_key_file();
  if (in.storage_commitment()) {
    out.commitment_timeout = kCommitmentTimeout;
    out.commitment_port = static_cast<int>(in.commitment_port());
  }
  return out;
}

// Reads a file that holds one line.
absl::StatusOr<std::string> ReadLine(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxCredentialBytes);
  if (!text.ok()) return text.status();
  return std::string(absl::StripAsciiWhitespace(*text));
}

absl::StatusOr<dicom::DestinationConfig> ToStowRs(const v1::StowRsDestination& in) {
  dicom::DestinationConfig out;
  out.kind = dicom::DestinationKind::kStowRs;
  out.url = in.url();
  out.tls.ca_file = in.tls_ca_file();
  if (!in.bearer_token_file().empty()) {
    absl::StatusOr<std::string> token = ReadLine(in.bearer_token_file());
    if (!token.ok()) return token.status();
    out.bearer_token = *std::move(token);
  }
  if (!in.basic_credentials_file().empty()) {
    const absl::StatusOr<std::string> credentials = ReadLine(in.basic_credentials_file());
    if (!credentials.ok()) return credentials.status();
    const size_t colon = credentials->find(':');
    if (colon == std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(in.basic_credentials_file(), ": expected USER:PASSWORD"));
    }
    out.username = credentials->substr(0, colon);
    out.password = credentials->substr(colon + 1);
  }
  return out;
}

}  // namespace

absl::StatusOr<Destinations> Destinations::Create(const v1::ServerConfig& config) {
  Destinations destinations;
  for (const v1::DestinationConfig& destination : config.destinations()) {
    destinations.configs_[destination.name()] = destination;
    const auto opened = destinations.Open(destination.name());
    if (!opened.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("destinations '", destination.name(), "': ", opened.status().message()));
    }
  }
  return destinations;
}

v1::ListDestinationsResponse Destinations::List() const {
  v1::ListDestinationsResponse response;
  for (const auto& [name, config] : configs_) {
    v1::Destination& destination = *response.add_destinations();
    destination.set_name(name);
    destination.set_kind(config.has_c_store() ? v1::DESTINATION_KIND_C_STORE
                                              : v1::DESTINATION_KIND_STOW_RS);
    destination.set_description(config.description());
  }
  return response;
}

std::vector<std::string> Destinations::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, config] : configs_) names.push_back(name);
  return names;
}

absl::StatusOr<std::unique_ptr<dicom::Destination>> Destinations::Open(
    const std::string& name) const {
  const v1::DestinationConfig& config = configs_.at(name);
  absl::StatusOr<dicom::DestinationConfig> converted =
      config.has_c_store() ? ToCStore(config.c_store()) : ToStowRs(config.stow_rs());
  if (!converted.ok()) return converted.status();
  converted->name = name;
  return dicom::Destination::Create(*converted);
}

}  // namespace synthvol::server
