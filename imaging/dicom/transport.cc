#include "imaging/dicom/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace synthvol::imaging::dicom {
namespace {

constexpr char kSystemCertificates[] = "/etc/ssl/certs/ca-certificates.crt";

// Switches Nagle's algorithm off on every connection: DCMTK writes a PDU in two pieces, and the
// second would wait for the peer's delayed acknowledgement.
template <typename Layer>
class PromptLayer : public Layer {
 public:
  template <typename... Arguments>
  explicit PromptLayer(std::function<void(int)> on_connection, Arguments... arguments)
      : Layer(arguments...), on_connection_(std::move(on_connection)) {}

  DcmTransportConnection* createConnection(DcmNativeSocketType open_socket,
                                           OFBool secure) override {
    const int on = 1;
    setsockopt(open_socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    on_connection_(open_socket);
    return Layer::createConnection(open_socket, secure);
  }

 private:
  const std::function<void(int)> on_connection_;
};

absl::Status Check(const OFCondition& condition, const char* what, const std::string& file) {
  if (condition.good()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("tls ", what, " ", file, ": expected PEM: ", condition.text()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DcmTransportLayer>> MakeTransportLayer(
    const TlsOptions& options, T_ASC_NetworkRole role, std::function<void(int)> on_connection) {
  if (!options.enabled) {
    return std::make_unique<PromptLayer<DcmTransportLayer>>(std::move(on_connection));
  }
  // OpenSSL 3 initialises itself.
  auto layer = std::make_unique<PromptLayer<DcmTLSTransportLayer>>(
      std::move(on_connection), role, static_cast<const char*>(nullptr),
      static_cast<OFBool>(OFFalse));
  const std::string authorities = options.ca_file.empty() ? kSystemCertificates : options.ca_file;
  absl::Status status =
      Check(layer->addTrustedCertificateFile(authorities.c_str(), DCF_Filetype_PEM), "CA file",
            authorities);
  if (status.ok() && !options.certificate_file.empty()) {
    status = Check(layer->setPrivateKeyFile(options.key_file.c_str(), DCF_Filetype_PEM), "key",
                   options.key_file);
    if (status.ok()) {
      status = Check(layer->setCertificateFile(options.certificate_file.c_str(), DCF_Filetype_PEM),
                     "certificate", options.certificate_file);
    }
    if (status.ok() && !layer->checkPrivateKeyMatchesCertificate()) {
      status = absl::FailedPreconditionError(absl::StrCat(
          "tls key ", options.key_file, ": does not belong to ", options.certificate_file));
    }
  }
  if (status.ok()) {
    status = Check(layer->setTLSProfile(TSP_Profile_BCP195), "profile", "BCP 195");
  }
  if (status.ok()) status = Check(layer->activateCipherSuites(), "cipher suites", "BCP 195");
  if (!status.ok()) return status;
  layer->setCertificateVerification(DCV_requireCertificate);
  return layer;
}

void AcknowledgePromptly(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

absl::Status VerifyPeerHost(const DestinationConfig& config, T_ASC_Association* association) {
  const auto length = ASC_getPeerCertificateLength(association);
  std::vector<unsigned char> bytes(length);
  if (length > 0) ASC_getPeerCertificate(association, bytes.data(), length);
  const unsigned char* cursor = bytes.data();
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      d2i_X509(nullptr, &cursor, static_cast<int64_t>(length)), &X509_free);
  const bool names_host =
      certificate != nullptr && (X509_check_host(certificate.get(), config.host.c_str(),
                                                 config.host.size(), 0, nullptr) == 1 ||
                                 X509_check_ip_asc(certificate.get(), config.host.c_str(), 0) == 1);
  if (names_host) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      config.name, ": TLS failed: the peer's certificate does not name the host ", config.host));
}

}  // namespace synthvol::imaging::dicom
