#include "imaging/dicom/association.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "dcmtk/dcmnet/cond.h"
#include "imaging/dicom/element_bytes.h"
#include "imaging/dicom/transport.h"

namespace synthvol::imaging::dicom {
namespace {

constexpr absl::Duration kCancellationStep = absl::Milliseconds(1000);
// DCMTK cannot be interrupted while it waits for a TCP connection, so it waits in steps. Long
// enough for a first SYN that was lost and repeated after a second.
constexpr absl::Duration kConnectStep = absl::Seconds(2);

int WholeSeconds(absl::Duration duration) {
  return std::max(1,
                  static_cast<int>(absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1)))));
}

// PS3.8 table 9-21.
absl::Status Rejected(const DestinationConfig& config, const T_ASC_RejectParameters& reject) {
  const std::string prefix = absl::StrCat(config.name, ": association rejected: ");
  switch (reject.reason) {
    case ASC_REASON_SU_CALLEDAETITLENOTRECOGNIZED:
      return absl::FailedPreconditionError(absl::StrCat(
          prefix, "called AE title \"", config.called_ae_title, "\" is not known there"));
    case ASC_REASON_SU_CALLINGAETITLENOTRECOGNIZED:
      return absl::FailedPreconditionError(absl::StrCat(
          prefix, "our AE title \"", config.calling_ae_title, "\" is not known there"));
    case ASC_REASON_SP_PRES_TEMPORARYCONGESTION:
      return absl::UnavailableError(absl::StrCat(prefix, "temporary congestion"));
    case ASC_REASON_SP_PRES_LOCALLIMITEXCEEDED:
      return absl::UnavailableError(absl::StrCat(prefix, "too many associations"));
    default:
      break;
  }
  OFString text;
  ASC_printRejectParameters(text, &reject);
  std::string reason(text.c_str(), text.length());
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  // "Rejected transient" says that trying again may help.
  return reject.result == ASC_RESULT_REJECTEDTRANSIENT
             ? absl::UnavailableError(absl::StrCat(prefix, reason))
             : absl::FailedPreconditionError(absl::StrCat(prefix, reason));
}

bool IsTlsFailure(const OFCondition& condition) {
  return condition.module() == OFM_dcmtls ||
         (condition.module() == OFM_dcmnet && condition.code() == DULC_TLSERROR);
}

}  // namespace

absl::Status Association::Broken(const char* doing, const OFCondition& condition) const {
  const char* reason = condition.text();
  if (condition == DUL_PEERREQUESTEDRELEASE) reason = "the peer ended the association";
  if (condition == DUL_PEERABORTEDASSOCIATION) reason = "the peer aborted the association";
  if (condition == DUL_NETWORKCLOSED) reason = "the connection broke";
  return absl::UnavailableError(absl::StrCat(config_.name, ": ", doing, ": ", reason));
}

absl::StatusOr<std::unique_ptr<Association>> Association::Request(
    const DestinationConfig& config, const std::vector<Proposal>& proposals,
    DeliveryTracker& tracker) {
  const absl::Duration step = std::min(kConnectStep, config.retry.connect_timeout);
  const absl::Time deadline = absl::Now() + config.retry.connect_timeout;
  while (true) {
    const absl::Time begin = absl::Now();
    std::unique_ptr<Association> association(new Association(config, tracker));
    const absl::Status status = association->Connect(proposals, step);
    if (status.ok()) return association;
    const bool waited_in_vain = association->socket_ < 0 && absl::Now() - begin >= step;
    if (!waited_in_vain || tracker.cancelled() || absl::Now() >= deadline) return status;
  }
}

absl::Status Association::Connect(const std::vector<Proposal>& proposals, absl::Duration patience) {
  const int timeout = WholeSeconds(config_.retry.connect_timeout);
  // DCMTK has one for the process.
  dcmConnectionTimeout.set(WholeSeconds(patience));
  OFCondition condition = ASC_initializeNetwork(NET_REQUESTOR, 0, timeout, &network_);
  T_ASC_Parameters* parameters = nullptr;
  if (condition.good())
    condition = ASC_createAssociationParameters(&parameters, ASC_MAXIMUMPDUSIZE);
  if (condition.bad()) return Broken("cannot start", condition);
  // Freed with the association from ASC_requestAssociation on.
  const auto fail = [&](absl::Status status) {
    if (association_ == nullptr) ASC_destroyAssociationParameters(&parameters);
    return status;
  };
  absl::StatusOr<std::unique_ptr<DcmTransportLayer>> layer =
      MakeTransportLayer(config_.tls, NET_REQUESTOR, [this](int socket) {
        socket_ = socket;
        hang_up_.emplace(tracker_, socket);
      });
  if (!layer.ok()) return fail(layer.status());
  layer_ = *std::move(layer);
  ASC_setTransportLayer(network_, layer_.get(), 0);
  ASC_setTransportLayerType(parameters, config_.tls.enabled ? OFTrue : OFFalse);
  std::array<char, 256> own_name{};
  gethostname(own_name.data(), own_name.size() - 1);
  ASC_setPresentationAddresses(parameters, own_name.data(),
                               absl::StrCat(config_.host, ":", config_.port).c_str());
  ASC_setAPTitles(parameters, config_.calling_ae_title.c_str(), config_.called_ae_title.c_str(),
                  nullptr);
  T_ASC_PresentationContextID id = 1;
  for (const Proposal& proposal : proposals) {
    std::vector<const char*> syntaxes;
    for (const std::string& syntax : proposal.transfer_syntaxes) syntaxes.push_back(syntax.c_str());
    condition = ASC_addPresentationContext(parameters, id, proposal.abstract_syntax.c_str(),
                                           syntaxes.data(), static_cast<int>(syntaxes.size()));
    if (condition.bad()) return fail(Broken("cannot propose", condition));
    id = static_cast<T_ASC_PresentationContextID>(id + 2);  // odd numbers, PS3.8 section 9.3.2.2
  }
  condition = ASC_requestAssociation(network_, parameters, &association_, nullptr, nullptr,
                                     DUL_NOBLOCK, timeout);
  if (condition == DUL_ASSOCIATIONREJECTED) {
    T_ASC_RejectParameters reject;
    ASC_getRejectParameters(parameters, &reject);
    return fail(Rejected(config_, reject));
  }
  if (condition.bad()) {
    if (IsTlsFailure(condition)) {
      return fail(absl::FailedPreconditionError(
          absl::StrCat(config_.name, ": TLS failed: ", condition.text())));
    }
    return fail(Broken("cannot connect", condition));
  }
  established_ = true;
  return config_.tls.enabled && config_.tls.verify_host ? VerifyPeerHost(config_, association_)
                                                        : absl::OkStatus();
}

Association::~Association() {
  if (association_ != nullptr) {
    if (established_) ASC_abortAssociation(association_);
    ASC_destroyAssociation(&association_);
  }
  if (network_ != nullptr) ASC_dropNetwork(&network_);
}

void Association::Release() {
  if (!established_) return;
  ASC_releaseAssociation(association_);
  established_ = false;
}

T_ASC_PresentationContextID Association::AcceptedContext(const std::string& abstract_syntax,
                                                         const std::string& transfer_syntax) const {
  if (transfer_syntax.empty()) {
    return ASC_findAcceptedPresentationContextID(association_, abstract_syntax.c_str());
  }
  // DCMTK falls back to another syntax by itself; only the wanted one counts here.
  T_ASC_PresentationContext context;
  for (int i = 0; i < ASC_countPresentationContexts(association_->params); ++i) {
    if (ASC_getPresentationContext(association_->params, i, &context).good() &&
        context.resultReason == ASC_P_ACCEPTANCE && abstract_syntax == context.abstractSyntax &&
        transfer_syntax == context.acceptedTransferSyntax) {
      return context.presentationContextID;
    }
  }
  return 0;
}

absl::Status Association::Send(T_ASC_PresentationContextID context, T_DIMSE_Message* message,
                               DcmDataset* dataset) {
  const OFCondition condition = DIMSE_sendMessageUsingMemoryData(
      association_, context, message, nullptr, dataset, nullptr, nullptr, nullptr);
  return condition.good() ? absl::OkStatus() : Broken("sending failed", condition);
}

absl::Status Association::Receive(absl::Duration timeout, T_ASC_PresentationContextID* context,
                                  T_DIMSE_Message* message) {
  AcknowledgePromptly(socket_);
  const absl::Status status = ReceiveCommand(association_, timeout, tracker_, context, message);
  if (status.ok() || absl::IsCancelled(status)) return status;
  return absl::Status(status.code(), absl::StrCat(config_.name, ": ", status.message()));
}

absl::Status Association::ReceiveAnswer(T_DIMSE_Message* message) {
  T_ASC_PresentationContextID context = 0;
  const absl::Status status = Receive(config_.retry.response_timeout, &context, message);
  return absl::IsDeadlineExceeded(status) ? absl::UnavailableError(status.message()) : status;
}

absl::Status ReceiveCommand(T_ASC_Association* association, absl::Duration timeout,
                            const DeliveryTracker& tracker, T_ASC_PresentationContextID* context,
                            T_DIMSE_Message* message) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    if (tracker.cancelled()) return absl::CancelledError("delivery cancelled");
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("no answer within ", absl::FormatDuration(timeout)));
    }
    DcmDataset* detail = nullptr;
    const OFCondition condition = DIMSE_receiveCommand(
        association, DIMSE_NONBLOCKING, WholeSeconds(std::min(left, kCancellationStep)), context,
        message, &detail);
    delete detail;
    if (condition.good()) return absl::OkStatus();
    if (condition == DIMSE_NODATAAVAILABLE) continue;
    if (condition == DUL_PEERREQUESTEDRELEASE) {
      return absl::UnavailableError("the peer ended the association in the middle");
    }
    if (condition == DUL_PEERABORTEDASSOCIATION) {
      return absl::UnavailableError("the peer aborted the association in the middle");
    }
    return absl::UnavailableError(
        absl::StrCat("the connection broke in the middle: ", condition.text()));
  }
}

}  // namespace synthvol::imaging::dicom
