// The API's DICOM options as imaging/dicom understands them.
#ifndef SYNTHVOL_SERVER_RPC_DICOM_OPTIONS_H_
#define SYNTHVOL_SERVER_RPC_DICOM_OPTIONS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "imaging/dicom/series_description.h"
#include "synthvol/v1/dicom.pb.h"

namespace synthvol::server {

// Converts enums and attributes; INVALID_ARGUMENT names the field of an unknown value.
absl::StatusOr<imaging::dicom::SeriesDescription> ToSeriesDescription(
    const v1::DicomOptions& options);

// Annotates an error of imaging::dicom::Validate, whose message begins with the field's path.
absl::Status CheckedSeriesStatus(const absl::Status& status);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_DICOM_OPTIONS_H_
