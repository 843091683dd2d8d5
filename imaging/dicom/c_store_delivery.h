// Delivery by C-STORE over several associations. Private to imaging/dicom.
#ifndef SYNTHVOL_IMAGING_DICOM_C_STORE_DELIVERY_H_
#define SYNTHVOL_IMAGING_DICOM_C_STORE_DELIVERY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "imaging/dicom/destination.h"

namespace synthvol::imaging::dicom {

// Starts a delivery to a valid configuration of kind kCStore whose name is set.
absl::StatusOr<std::unique_ptr<Delivery>> BeginCStore(const DestinationConfig& config,
                                                      ProgressCallback progress);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_C_STORE_DELIVERY_H_
