#include "imaging/dicom/storage_association.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "dcmtk/dcmdata/dcistrmb.h"
#include "dcmtk/dcmdata/dctk.h"

namespace synthvol::imaging::dicom {
namespace {

// What every PACS should take, in the order we like.
constexpr std::array<TransferSyntax, 2> kFallbacks = {TransferSyntax::kExplicitLittleEndian,
                                                      TransferSyntax::kImplicitLittleEndian};

// Reads a PS3.10 file that lies in memory.
absl::Status Parse(const std::string& bytes, DcmFileFormat& file) {
  DcmInputBufferStream stream;
  stream.setBuffer(bytes.data(), static_cast<offile_off_t>(bytes.size()));
  stream.setEos();
  file.transferInit();
  const OFCondition condition = file.read(stream, EXS_Unknown, EGL_noChange);
  file.transferEnd();
  if (condition.good() || condition == EC_EndOfStream) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("not a DICOM file: ", condition.text()));
}

// Status of a C-STORE response, PS3.4 table B.2-1 and PS3.7 Annex C.
absl::Status FromStoreStatus(const std::string& destination, DIC_US code) {
  if (code == STATUS_Success || DICOM_WARNING_STATUS(code)) return absl::OkStatus();
  const std::string text = absl::StrFormat("%s: the instance was refused with status 0x%04X",
                                           destination, static_cast<unsigned>(code));
  if ((code & 0xFF00) == 0xA700) {
    return absl::ResourceExhaustedError(absl::StrCat(text, ": out of resources"));
  }
  if ((code & 0xFF00) == 0xA900) {
    return absl::FailedPreconditionError(absl::StrCat(text, ": dataset does not match SOP class"));
  }
  if ((code & 0xF000) == 0xC000) {
    return absl::FailedPreconditionError(absl::StrCat(text, ": cannot understand"));
  }
  switch (code) {
    case STATUS_N_ProcessingFailure:
      return absl::UnavailableError(absl::StrCat(text, ": processing failure"));
    case STATUS_STORE_Refused_SOPClassNotSupported:
      return absl::FailedPreconditionError(absl::StrCat(text, ": SOP class not supported"));
    case 0x0124:
      return absl::PermissionDeniedError(absl::StrCat(text, ": not authorized"));
    default:
      return absl::FailedPreconditionError(text);
  }
}

template <size_t N>
void Copy(const std::string& value, char (&field)[N]) {
  std::strncpy(field, value.c_str(), N - 1);
  field[N - 1] = '\0';
}

}  // namespace

absl::StatusOr<std::unique_ptr<StorageAssociation>> StorageAssociation::Open(
    const DestinationConfig& config, const InstanceIdentity& first, DeliveryTracker& tracker) {
  // One context a syntax: a peer picks one syntax of each context, so ours is never hidden by a
  // fallback.
  std::vector<Proposal> proposals = {{first.sop_class_uid, {first.transfer_syntax_uid}}};
  for (const TransferSyntax fallback : kFallbacks) {
    if (TransferSyntaxUid(fallback) != first.transfer_syntax_uid) {
      proposals.push_back({first.sop_class_uid, {TransferSyntaxUid(fallback)}});
    }
  }
  absl::StatusOr<std::unique_ptr<Association>> association =
      Association::Request(config, proposals, tracker);
  if (!association.ok()) return association.status();
  if ((*association)->AcceptedContext(first.sop_class_uid, "") == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(config.name, ": does not accept storage class ", first.sop_class_uid, " in ",
                     first.transfer_syntax_uid, ", explicit or implicit little endian"));
  }
  return std::unique_ptr<StorageAssociation>(
      new StorageAssociation(*std::move(association), config.name));
}

absl::Status StorageAssociation::Store(const OutgoingInstance& instance) {
  const InstanceIdentity& identity = instance.identity;
  std::string syntax = identity.transfer_syntax_uid;
  T_ASC_PresentationContextID context =
      association_->AcceptedContext(identity.sop_class_uid, syntax);
  for (auto fallback = kFallbacks.begin(); context == 0 && fallback != kFallbacks.end();
       ++fallback) {
    syntax = TransferSyntaxUid(*fallback);
    context = association_->AcceptedContext(identity.sop_class_uid, syntax);
  }
  if (context == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(destination_, ": no context was accepted for ", identity.sop_class_uid));
  }
  DcmFileFormat file;
  if (absl::Status status = Parse(instance.bytes, file); !status.ok()) return status;
  DcmDataset& dataset = *file.getDataset();
  const OFCondition converted =
      dataset.chooseRepresentation(DcmXfer(syntax.c_str()).getXfer(), nullptr);
  if (converted.bad()) {
    return absl::InternalError(absl::StrCat("cannot convert to ", syntax, ": ", converted.text()));
  }

  T_DIMSE_Message message{};
  message.CommandField = DIMSE_C_STORE_RQ;
  T_DIMSE_C_StoreRQ& request = message.msg.CStoreRQ;
  request.MessageID = association_->NextMessageId();
  Copy(identity.sop_class_uid, request.AffectedSOPClassUID);
  Copy(identity.sop_instance_uid, request.AffectedSOPInstanceUID);
  request.DataSetType = DIMSE_DATASET_PRESENT;
  request.Priority = DIMSE_PRIORITY_MEDIUM;
  const DIC_US message_id = request.MessageID;
  if (absl::Status status = association_->Send(context, &message, &dataset); !status.ok()) {
    return status;
  }

  T_DIMSE_Message answer{};
  if (absl::Status status = association_->ReceiveAnswer(&answer); !status.ok()) return status;
  const T_DIMSE_C_StoreRSP& response = answer.msg.CStoreRSP;
  if (answer.CommandField != DIMSE_C_STORE_RSP ||
      response.MessageIDBeingRespondedTo != message_id) {
    return absl::UnavailableError(absl::StrCat(destination_, ": unexpected answer to C-STORE"));
  }
  return FromStoreStatus(destination_, response.DimseStatus);
}

}  // namespace synthvol::imaging::dicom
