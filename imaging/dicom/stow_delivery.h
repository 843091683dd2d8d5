// Delivery by STOW-RS: one multipart/related request a series (PS3.18 section 10.5). Private to
// imaging/dicom.
#ifndef SYNTHVOL_IMAGING_DICOM_STOW_DELIVERY_H_
#define SYNTHVOL_IMAGING_DICOM_STOW_DELIVERY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "imaging/dicom/destination.h"

namespace synthvol::imaging::dicom {

// Starts a delivery to a valid configuration of kind kStowRs whose name is set. The request is
// collected in a nameless temporary file (TMPDIR), so that memory stays bounded, its length is
// known, and it can be sent again. RESOURCE_EXHAUSTED when the file cannot be made.
absl::StatusOr<std::unique_ptr<Delivery>> BeginStow(const DestinationConfig& config,
                                                    ProgressCallback progress);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_STOW_DELIVERY_H_
