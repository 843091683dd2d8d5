#include "imaging/dicom/storage_commitment.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "imaging/dicom/association.h"
#include "imaging/dicom/attribute_writer.h"
#include "imaging/dicom/transport.h"
#include "imaging/dicom/uid.h"

namespace synthvol::imaging::dicom {
namespace {

// PS3.4 J.3.5: the one instance that every provider has.
constexpr char kCommitmentInstance[] = "1.2.840.10008.1.20.1.1";
constexpr DIC_US kRequestCommitment = 1;  // N-ACTION, PS3.4 J.3.2
constexpr DIC_US kAllCommitted = 1;       // N-EVENT-REPORT, PS3.4 J.3.3

template <size_t N>
void Copy(const std::string& value, char (&field)[N]) {
  std::strncpy(field, value.c_str(), N - 1);
  field[N - 1] = '\0';
}

// Each request needs a number of its own, also when the same series is delivered again.
std::string NewTransactionUid() {
  static std::atomic<uint64_t> count{0};
  return UidFromName(absl::StrCat("transaction ", absl::ToUnixNanos(absl::Now()), " ", getpid(),
                                  " ", count.fetch_add(1)));
}

// What a report said.
struct Report {
  bool ours = false;
  bool all_committed = false;
};

// A port on which the peer may open an association to report; holds the process's turn meanwhile.
class Listener {
 public:
  explicit Listener(const DestinationConfig& config) : config_(config), turn_(Turn()) {}
  ~Listener() {
    if (network_ != nullptr) ASC_dropNetwork(&network_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  absl::Status Open();
  // Waits up to a second for an association, returns whether one came.
  absl::StatusOr<T_ASC_Association*> Accept();

 private:
  static std::mutex& Turn() {
    static std::mutex* const turn = new std::mutex;
    return *turn;
  }

  const DestinationConfig& config_;
  const std::lock_guard<std::mutex> turn_;
  std::unique_ptr<DcmTransportLayer> layer_;
  T_ASC_Network* network_ = nullptr;
};

absl::Status Listener::Open() {
  const OFCondition condition =
      ASC_initializeNetwork(NET_ACCEPTOR, config_.commitment_port, 10, &network_);
  if (condition.bad()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen for commitment reports on port ", config_.commitment_port, ": ",
                     condition.text()));
  }
  absl::StatusOr<std::unique_ptr<DcmTransportLayer>> layer =
      MakeTransportLayer(config_.tls, NET_ACCEPTOR, [](int) {});
  if (!layer.ok()) return layer.status();
  layer_ = *std::move(layer);
  ASC_setTransportLayer(network_, layer_.get(), 0);
  return absl::OkStatus();
}

absl::StatusOr<T_ASC_Association*> Listener::Accept() {
  if (!ASC_associationWaiting(network_, 1)) return nullptr;
  T_ASC_Association* association = nullptr;
  const OFBool secure = config_.tls.enabled ? OFTrue : OFFalse;
  OFCondition condition = ASC_receiveAssociation(network_, &association, ASC_MAXIMUMPDUSIZE,
                                                 nullptr, nullptr, secure, DUL_NOBLOCK, 10);
  if (condition.good()) {
    // The peer asks to be the provider (SCP) on an association that it opens, PS3.4 J.3.1.
    const char* abstract_syntaxes[] = {UID_StorageCommitmentPushModelSOPClass,
                                       UID_VerificationSOPClass};
    const char* transfer_syntaxes[] = {UID_LittleEndianExplicitTransferSyntax,
                                       UID_LittleEndianImplicitTransferSyntax};
    condition = ASC_acceptContextsWithPreferredTransferSyntaxes(
        association->params, abstract_syntaxes, 1, transfer_syntaxes, 2, ASC_SC_ROLE_SCP);
  }
  if (condition.good()) condition = ASC_acknowledgeAssociation(association);
  if (condition.good()) return association;
  // A stranger or a port scan; go on waiting for the peer.
  if (association != nullptr) {
    ASC_abortAssociation(association);
    ASC_destroyAssociation(&association);
  }
  return nullptr;
}

absl::Status SendRequest(Association& association, T_ASC_PresentationContextID context,
                         const std::string& transaction,
                         const std::vector<InstanceIdentity>& instances) {
  DcmDataset dataset;
  AttributeWriter to(dataset);
  to.Text(DCM_TransactionUID, transaction);  // 1
  for (const InstanceIdentity& instance : instances) {
    AttributeWriter item(to.SequenceItem(DCM_ReferencedSOPSequence));    // 1
    item.Text(DCM_ReferencedSOPClassUID, instance.sop_class_uid);        // 1
    item.Text(DCM_ReferencedSOPInstanceUID, instance.sop_instance_uid);  // 1
    to.Merge(item);
  }
  if (!to.status().ok()) return to.status();
  T_DIMSE_Message message{};
  message.CommandField = DIMSE_N_ACTION_RQ;
  T_DIMSE_N_ActionRQ& request = message.msg.NActionRQ;
  request.MessageID = association.NextMessageId();
  Copy(UID_StorageCommitmentPushModelSOPClass, request.RequestedSOPClassUID);
  Copy(kCommitmentInstance, request.RequestedSOPInstanceUID);
  request.ActionTypeID = kRequestCommitment;
  request.DataSetType = DIMSE_DATASET_PRESENT;
  return association.Send(context, &message, &dataset);
}

// Reads the dataset of a report, answers it and says what was in it.
absl::StatusOr<Report> TakeReport(T_ASC_Association* association,
                                  T_ASC_PresentationContextID context,
                                  const T_DIMSE_N_EventReportRQ& request,
                                  const std::string& transaction, size_t instances) {
  DcmDataset* received = nullptr;
  T_ASC_PresentationContextID data_context = 0;
  OFCondition condition = EC_Normal;
  if (request.DataSetType == DIMSE_DATASET_PRESENT) {
    condition = DIMSE_receiveDataSetInMemory(association, DIMSE_NONBLOCKING, 10, &data_context,
                                             &received, nullptr, nullptr);
  }
  const std::unique_ptr<DcmDataset> dataset(received);
  if (condition.bad() || dataset == nullptr) {
    return absl::UnavailableError("the commitment report broke off");
  }
  T_DIMSE_Message answer{};
  answer.CommandField = DIMSE_N_EVENT_REPORT_RSP;
  T_DIMSE_N_EventReportRSP& response = answer.msg.NEventReportRSP;
  response.MessageIDBeingRespondedTo = request.MessageID;
  response.DimseStatus = STATUS_Success;
  response.DataSetType = DIMSE_DATASET_NULL;
  DIMSE_sendMessageUsingMemoryData(association, context, &answer, nullptr, nullptr, nullptr,
                                   nullptr);

  Report report;
  OFString uid;
  dataset->findAndGetOFString(DCM_TransactionUID, uid);
  report.ours = transaction == uid;
  DcmSequenceOfItems* committed = nullptr;
  dataset->findAndGetSequence(DCM_ReferencedSOPSequence, committed);
  report.all_committed = request.EventTypeID == kAllCommitted && committed != nullptr &&
                         committed->card() >= instances;
  return report;
}

// Waits on one association for a report until `patience` is over; nothing came: not ours.
absl::StatusOr<Report> WaitForReport(T_ASC_Association* association, absl::Duration patience,
                                     const DeliveryTracker& tracker, const std::string& transaction,
                                     size_t instances) {
  T_ASC_PresentationContextID context = 0;
  T_DIMSE_Message message{};
  absl::Status status = ReceiveCommand(association, patience, tracker, &context, &message);
  if (absl::IsDeadlineExceeded(status)) return Report();
  if (!status.ok()) return status;
  if (message.CommandField != DIMSE_N_EVENT_REPORT_RQ) {
    return absl::UnavailableError("unexpected message instead of a commitment report");
  }
  return TakeReport(association, context, message.msg.NEventReportRQ, transaction, instances);
}

// Waits on our association and, with a listener, on those that the peer opens.
absl::StatusOr<bool> AwaitCommitment(const DestinationConfig& config, Association* association,
                                     Listener* listener, const DeliveryTracker& tracker,
                                     const std::string& transaction, size_t instances) {
  const absl::Time deadline = absl::Now() + config.commitment_timeout;
  while (absl::Now() < deadline) {
    if (tracker.cancelled()) return absl::CancelledError("delivery cancelled");
    Report report;
    if (association != nullptr) {
      absl::StatusOr<Report> own =
          WaitForReport(association->get(), absl::Seconds(1), tracker, transaction, instances);
      if (own.ok()) {
        report = *own;
      } else if (listener == nullptr) {
        return false;  // the peer ended the only association on which it could report
      } else {
        association = nullptr;
      }
    }
    if (!report.ours && listener != nullptr) {
      absl::StatusOr<T_ASC_Association*> incoming = listener->Accept();
      if (!incoming.ok()) return incoming.status();
      if (*incoming != nullptr) {
        T_ASC_Association* opened = *incoming;
        absl::StatusOr<Report> other =
            WaitForReport(opened, absl::Seconds(10), tracker, transaction, instances);
        if (other.ok()) report = *other;
        // The peer releases; what it says then is of no interest.
        T_ASC_PresentationContextID context = 0;
        T_DIMSE_Message message{};
        ReceiveCommand(opened, absl::Seconds(2), tracker, &context, &message).IgnoreError();
        ASC_acknowledgeRelease(opened);
        ASC_dropSCPAssociation(opened, 1);
        ASC_destroyAssociation(&opened);
      }
    }
    if (!report.ours) continue;
    if (report.all_committed) return true;
    return absl::FailedPreconditionError(absl::StrCat(
        config.name, ": storage commitment failed: the destination does not keep all instances"));
  }
  return false;
}

}  // namespace

absl::StatusOr<bool> RequestCommitment(const DestinationConfig& config,
                                       const std::vector<InstanceIdentity>& instances,
                                       DeliveryTracker& tracker) {
  std::unique_ptr<Listener> listener;
  if (config.commitment_port != 0) {
    listener = std::make_unique<Listener>(config);
    if (absl::Status status = listener->Open(); !status.ok()) return status;
  }
  absl::StatusOr<std::unique_ptr<Association>> association = Association::Request(
      config,
      {{UID_StorageCommitmentPushModelSOPClass,
        {UID_LittleEndianExplicitTransferSyntax, UID_LittleEndianImplicitTransferSyntax}}},
      tracker);
  if (!association.ok()) return association.status();
  const T_ASC_PresentationContextID context =
      (*association)->AcceptedContext(UID_StorageCommitmentPushModelSOPClass, "");
  if (context == 0) {
    (*association)->Release();
    return false;
  }
  const std::string transaction = NewTransactionUid();
  absl::Status status = SendRequest(**association, context, transaction, instances);
  T_DIMSE_Message answer{};
  if (status.ok()) status = (*association)->ReceiveAnswer(&answer);
  if (!status.ok()) return status;
  if (answer.CommandField != DIMSE_N_ACTION_RSP ||
      answer.msg.NActionRSP.DimseStatus != STATUS_Success) {
    return absl::FailedPreconditionError(
        absl::StrCat(config.name, ": the request for storage commitment was refused"));
  }
  absl::StatusOr<bool> committed = AwaitCommitment(config, association->get(), listener.get(),
                                                   tracker, transaction, instances.size());
  (*association)->Release();
  return committed;
}

}  // namespace synthvol::imaging::dicom
