// Where series are delivered: a PACS that takes C-STORE (PS3.4 Annex B) or STOW-RS (PS3.18 section
// 10.5), behind one interface.
//
// A Destination is immutable and may be used from several threads; each Delivery is one series on
// its way. Delivering again never makes duplicates: UIDs are derived from the request, so the PACS
// ends with exactly the instances of the series however often a delivery was broken and repeated.
#ifndef SYNTHVOL_IMAGING_DICOM_DESTINATION_H_
#define SYNTHVOL_IMAGING_DICOM_DESTINATION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "imaging/dicom/series_encoder.h"

namespace synthvol::imaging::dicom {

enum class DestinationKind { kCStore, kStowRs };

// TLS towards a destination; PEM files.
struct TlsOptions {
  bool enabled = false;  // for C-STORE; a https:// URL says it itself
  // Trusted certificates; the system's when empty. The peer's certificate is always verified
  // against them.
  std::string ca_file;
  // The peer's certificate must also name the host that was connected to.
  bool verify_host = true;
  // Our own certificate and key, for a peer that asks for one; both or none.
  std::string certificate_file;
  std::string key_file;
};

// How long to wait, and how often to try again.
struct RetryOptions {
  // Attempts an instance (C-STORE) or a series (STOW-RS) gets, the first included.
  int max_attempts = 4;
  // Pause before the second attempt; doubles up to max_backoff, with jitter.
  absl::Duration initial_backoff = absl::Milliseconds(500);
  absl::Duration max_backoff = absl::Seconds(30);
  absl::Duration connect_timeout = absl::Seconds(10);
  // Longest silence of the peer in the middle of an exchange.
  absl::Duration response_timeout = absl::Seconds(60);
};

struct DestinationConfig {
  DestinationKind kind = DestinationKind::kCStore;
  // Name for messages; empty takes the address.
  std::string name;
  TlsOptions tls;
  RetryOptions retry;

  // C-STORE.
  std::string host;
  int port = 104;
  std::string called_ae_title;
  std::string calling_ae_title = "SYNTHVOL";
  // Associations in parallel, 1 .. 16.
  int associations = 2;
  // Asks for storage commitment (PS3.4 Annex J) where the peer accepts it, and waits this long for
  // its report; zero does not ask.
  absl::Duration commitment_timeout = absl::ZeroDuration();
  // TCP port on which the peer may open an association to report; 0 waits on our own one only.
  // Deliveries that ask for commitment take turns.
  int commitment_port = 0;

  // STOW-RS: the service's root, e.g. "https://pacs.example/dicom-web".
  std::string url;
  // At most one of token and user name.
  std::string bearer_token;
  std::string username;
  std::string password;
};

// Parses "AETITLE@HOST:PORT", "http://..." or "https://...". INVALID_ARGUMENT says what is
// expected.
absl::StatusOr<DestinationConfig> ParseDestination(std::string_view text);

// Checks titles, ports, URL, files and limits without connecting. INVALID_ARGUMENT names the field.
absl::Status Validate(const DestinationConfig& config);

// One whole PS3.10 file on its way.
struct OutgoingInstance {
  InstanceIdentity identity;
  std::string bytes;
};

struct DeliveryProgress {
  // Instances that the destination acknowledged.
  int64_t stored = 0;
  // Attempts beyond the first, so far.
  int64_t retries = 0;
  // Storage commitment was asked for and confirmed for every instance.
  bool committed = false;
};

// Called after each acknowledgement and each retry, never concurrently; must be quick.
using ProgressCallback = std::function<void(const DeliveryProgress&)>;

// One series on its way. Store and Finish by one thread; Cancel by any. Destroying it before Finish
// cancels.
class Delivery {
 public:
  virtual ~Delivery() = default;

  // Takes an instance; blocks while too many are unacknowledged, so memory stays bounded. An error
  // is final: the destination refused for good or every attempt failed. It names the destination
  // and the reason.
  virtual absl::Status Store(OutgoingInstance instance) = 0;

  // Waits until all are acknowledged (and committed, when asked for). UNAVAILABLE when the
  // destination cannot be reached or broke off, RESOURCE_EXHAUSTED when it is full,
  // FAILED_PRECONDITION or UNAUTHENTICATED when it refuses us, CANCELLED after Cancel.
  virtual absl::StatusOr<DeliveryProgress> Finish() = 0;

  // Ends Store and Finish soon; what was stored stays stored.
  virtual void Cancel() = 0;
};

class Destination {
 public:
  virtual ~Destination() = default;

  // Makes a destination; does not connect. INVALID_ARGUMENT as Validate.
  static absl::StatusOr<std::unique_ptr<Destination>> Create(const DestinationConfig& config);

  // Starts the delivery of one series; connects when the first instance comes.
  virtual absl::StatusOr<std::unique_ptr<Delivery>> Begin(ProgressCallback progress) const = 0;

  // Returns the name for messages: "AETITLE@HOST:PORT" or the URL, without credentials.
  virtual const std::string& name() const = 0;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_DESTINATION_H_
