// Storage commitment, push model (PS3.4 Annex J), as SCU. Private to imaging/dicom.
#ifndef SYNTHVOL_IMAGING_DICOM_STORAGE_COMMITMENT_H_
#define SYNTHVOL_IMAGING_DICOM_STORAGE_COMMITMENT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "imaging/dicom/delivery_tracker.h"
#include "imaging/dicom/destination.h"

namespace synthvol::imaging::dicom {

// Asks the destination to commit to `instances` and waits for its report: on our association, and
// on commitment_port where the peer may open one. Returns false when the peer does not offer the
// service or does not report in time. FAILED_PRECONDITION when it reports that instances are not
// kept. Blocks; call it with SIGPIPE blocked.
absl::StatusOr<bool> RequestCommitment(const DestinationConfig& config,
                                       const std::vector<InstanceIdentity>& instances,
                                       DeliveryTracker& tracker);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_STORAGE_COMMITMENT_H_
