#include "server/rpc/dicom_options.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/grpc_status.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

namespace dicom = imaging::dicom;

absl::StatusOr<dicom::Storage> ParseStorage(v1::DicomStorage storage) {
  switch (storage) {
    case v1::DICOM_STORAGE_UNSPECIFIED:
    case v1::DICOM_STORAGE_SLICES:
      return dicom::Storage::kSlices;
    case v1::DICOM_STORAGE_ENHANCED:
      return dicom::Storage::kEnhanced;
    default:
      return BadField("dicom.storage", absl::StrCat("unknown value ", static_cast<int>(storage)));
  }
}

absl::StatusOr<dicom::TransferSyntax> ParseTransferSyntax(v1::DicomTransferSyntax syntax) {
  switch (syntax) {
    case v1::DICOM_TRANSFER_SYNTAX_UNSPECIFIED:
    case v1::DICOM_TRANSFER_SYNTAX_EXPLICIT_LITTLE_ENDIAN:
      return dicom::TransferSyntax::kExplicitLittleEndian;
    case v1::DICOM_TRANSFER_SYNTAX_IMPLICIT_LITTLE_ENDIAN:
      return dicom::TransferSyntax::kImplicitLittleEndian;
    case v1::DICOM_TRANSFER_SYNTAX_DEFLATED:
      return dicom::TransferSyntax::kDeflated;
    case v1::DICOM_TRANSFER_SYNTAX_RLE_LOSSLESS:
      return dicom::TransferSyntax::kRleLossless;
    case v1::DICOM_TRANSFER_SYNTAX_JPEG_LS_LOSSLESS:
      return dicom::TransferSyntax::kJpegLsLossless;
    default:
      return BadField("dicom.transfer_syntax",
                      absl::StrCat("unknown value ", static_cast<int>(syntax)));
  }
}

absl::StatusOr<dicom::Grouping> ParseGrouping(v1::DicomGrouping grouping) {
  switch (grouping) {
    case v1::DICOM_GROUPING_UNSPECIFIED:
    case v1::DICOM_GROUPING_SERIES_PER_VOLUME:
      return dicom::Grouping::kSeriesPerVolume;
    case v1::DICOM_GROUPING_STUDY_PER_VOLUME:
      return dicom::Grouping::kStudyPerVolume;
    default:
      return BadField("dicom.grouping", absl::StrCat("unknown value ", static_cast<int>(grouping)));
  }
}

dicom::Attributes ToAttributes(const v1::DicomAttributes& in) {
  dicom::Attributes out;
  out.patient_name = in.patient_name();
  out.patient_id = in.patient_id();
  out.patient_birth_date = in.patient_birth_date();
  out.patient_sex = in.patient_sex();
  out.study_instance_uid = in.study_instance_uid();
  out.study_id = in.study_id();
  out.study_date = in.study_date();
  out.study_time = in.study_time();
  out.study_description = in.study_description();
  out.accession_number = in.accession_number();
  out.referring_physician_name = in.referring_physician_name();
  out.series_description = in.series_description();
  out.series_number = in.series_number();
  return out;
}

}  // namespace

absl::StatusOr<dicom::SeriesDescription> ToSeriesDescription(const v1::DicomOptions& options) {
  const auto storage = ParseStorage(options.storage());
  if (!storage.ok()) return storage.status();
  const auto syntax = ParseTransferSyntax(options.transfer_syntax());
  if (!syntax.ok()) return syntax.status();
  const auto grouping = ParseGrouping(options.grouping());
  if (!grouping.ok()) return grouping.status();
  dicom::SeriesDescription description;
  description.storage = *storage;
  description.transfer_syntax = *syntax;
  description.grouping = *grouping;
  description.attributes = ToAttributes(options.attributes());
  return description;
}

absl::Status CheckedSeriesStatus(const absl::Status& status) {
  const absl::string_view message = status.message();
  const absl::string_view field = message.substr(0, message.find_first_of(": "));
  return WithReason(WithField(status, field), "BAD_FIELD");
}

}  // namespace synthvol::server
