// An association that we request: TCP or TLS, negotiation, messages with a deadline and
// cancellation. Owns DCMTK's structures. Private to imaging/dicom.
//
// Thread-compatible.
#ifndef SYNTHVOL_IMAGING_DICOM_ASSOCIATION_H_
#define SYNTHVOL_IMAGING_DICOM_ASSOCIATION_H_

#include "dcmtk/config/osconfig.h"
// DCMTK wants its configuration first.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "dcmtk/dcmnet/assoc.h"
#include "dcmtk/dcmnet/dcmlayer.h"
#include "dcmtk/dcmnet/dimse.h"
#include "imaging/dicom/delivery_tracker.h"
#include "imaging/dicom/destination.h"

namespace synthvol::imaging::dicom {

// A presentation context to propose.
struct Proposal {
  std::string abstract_syntax;
  std::vector<std::string> transfer_syntaxes;
};

class Association {
 public:
  // Connects and negotiates. Errors name the destination and the peer's reason: UNAVAILABLE may
  // pass, FAILED_PRECONDITION does not (an AE title that is not known, TLS that fails).
  static absl::StatusOr<std::unique_ptr<Association>> Request(
      const DestinationConfig& config, const std::vector<Proposal>& proposals,
      DeliveryTracker& tracker);
  // Aborts when it was not released.
  ~Association();
  Association(const Association&) = delete;
  Association& operator=(const Association&) = delete;

  // Returns the accepted context for this pair, 0 when there is none. An empty transfer syntax
  // takes any.
  T_ASC_PresentationContextID AcceptedContext(const std::string& abstract_syntax,
                                              const std::string& transfer_syntax) const;

  // Sends a message with its dataset. UNAVAILABLE when the association broke.
  absl::Status Send(T_ASC_PresentationContextID context, T_DIMSE_Message* message,
                    DcmDataset* dataset);
  // Waits for the next command, at most `timeout`. DEADLINE_EXCEEDED when none came, CANCELLED,
  // UNAVAILABLE when the association broke.
  absl::Status Receive(absl::Duration timeout, T_ASC_PresentationContextID* context,
                       T_DIMSE_Message* message);

  // Waits for the answer to a request, as long as the configuration allows; none is UNAVAILABLE.
  absl::Status ReceiveAnswer(T_DIMSE_Message* message);

  // Returns a number for the next request.
  DIC_US NextMessageId() { return association_->nextMsgID++; }
  T_ASC_Association* get() { return association_; }
  void Release();

 private:
  Association(const DestinationConfig& config, DeliveryTracker& tracker)
      : config_(config), tracker_(tracker) {}
  // Waits at most `patience` for the TCP connection, and as configured for the rest.
  absl::Status Connect(const std::vector<Proposal>& proposals, absl::Duration patience);
  absl::Status Broken(const char* doing, const OFCondition& condition) const;

  const DestinationConfig config_;
  DeliveryTracker& tracker_;
  int socket_ = -1;
  std::optional<HangUp> hang_up_;
  std::unique_ptr<DcmTransportLayer> layer_;
  T_ASC_Network* network_ = nullptr;
  T_ASC_Association* association_ = nullptr;
  bool established_ = false;
};

// Waits in short steps for a command on an association, so that a cancellation is seen. As
// Association::Receive, for associations that a peer opened too.
absl::Status ReceiveCommand(T_ASC_Association* association, absl::Duration timeout,
                            const DeliveryTracker& tracker, T_ASC_PresentationContextID* context,
                            T_DIMSE_Message* message);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_ASSOCIATION_H_
