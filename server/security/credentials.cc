#include "server/security/credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "server/config/config.h"

namespace synthvol::server {
namespace {

constexpr uint64_t kMaxPemBytes = 4 << 20;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::StatusOr<X509Ptr> ReadCertificate(const std::string& path, const char* field) {
  const absl::StatusOr<std::string> pem = ReadFile(path, kMaxPemBytes);
  if (!pem.ok()) return Bad(field, ": ", pem.status().message());
  const BioPtr bio(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return Bad(field, ": ", path, ": expected a PEM certificate");
  return certificate;
}

absl::StatusOr<KeyPtr> ReadKey(const std::string& path, const char* field) {
  const absl::StatusOr<std::string> pem = ReadFile(path, kMaxPemBytes);
  if (!pem.ok()) return Bad(field, ": ", pem.status().message());
  const BioPtr bio(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  // An encrypted key would ask on the terminal: an empty passphrase makes it fail instead.
  char no_passphrase[] = "";
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, no_passphrase));
  if (key == nullptr) return Bad(field, ": ", path, ": expected a PEM private key, not encrypted");
  return key;
}

// Finds at start what gRPC would only say in failed handshakes.
absl::Status CheckFiles(const v1::TlsConfig& tls) {
  const auto certificate = ReadCertificate(tls.certificate_file(), "tls.certificate_file");
  if (!certificate.ok()) return certificate.status();
  const auto key = ReadKey(tls.private_key_file(), "tls.private_key_file");
  if (!key.ok()) return key.status();
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    return Bad("tls.private_key_file: ", tls.private_key_file(), " does not fit the certificate ",
               tls.certificate_file());
  }
  if (X509_cmp_current_time(X509_get0_notAfter(certificate->get())) < 0) {
    return Bad("tls.certificate_file: ", tls.certificate_file(), " has expired");
  }
  if (tls.client_ca_file().empty()) return absl::OkStatus();
  return ReadCertificate(tls.client_ca_file(), "tls.client_ca_file").status();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const v1::ServerConfig& config) {
  if (!config.has_tls()) return grpc::InsecureServerCredentials();
  const v1::TlsConfig& tls = config.tls();
  if (absl::Status bad = CheckFiles(tls); !bad.ok()) return bad;
  const auto interval =
      static_cast<unsigned>(absl::ToInt64Seconds(ToDuration(tls.reload_interval())));
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      tls.private_key_file(), tls.certificate_file(), tls.client_ca_file(), interval);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  if (tls.client_ca_file().empty()) {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace synthvol::server
