// One association with a storage SCP (PS3.8, PS3.4 Annex B), by DCMTK. Private to imaging/dicom.
//
// Thread-compatible: one thread at a time, which should have SIGPIPE blocked.
#ifndef SYNTHVOL_IMAGING_DICOM_STORAGE_ASSOCIATION_H_
#define SYNTHVOL_IMAGING_DICOM_STORAGE_ASSOCIATION_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "imaging/dicom/association.h"
#include "imaging/dicom/delivery_tracker.h"
#include "imaging/dicom/destination.h"

namespace synthvol::imaging::dicom {

class StorageAssociation {
 public:
  // Connects and negotiates for instances like `first`: its own transfer syntax, and explicit and
  // implicit little endian to fall back on. `tracker` outlives the association. UNAVAILABLE when
  // the host cannot be reached or has no room for us now; FAILED_PRECONDITION when it refuses us or
  // our storage class for good.
  static absl::StatusOr<std::unique_ptr<StorageAssociation>> Open(const DestinationConfig& config,
                                                                  const InstanceIdentity& first,
                                                                  DeliveryTracker& tracker);

  // Sends one instance, decompressed where the peer took only an uncompressed syntax, and waits for
  // the answer. Warnings (0xBxxx) count as stored. RESOURCE_EXHAUSTED for 0xA7xx; UNAVAILABLE when
  // the association broke; FAILED_PRECONDITION when the peer refuses the instance for good.
  absl::Status Store(const OutgoingInstance& instance);

  // Ends the association politely. Destroying it without aborts it.
  void Release() { association_->Release(); }

 private:
  StorageAssociation(std::unique_ptr<Association> association, std::string destination)
      : association_(std::move(association)), destination_(std::move(destination)) {}

  std::unique_ptr<Association> association_;
  const std::string destination_;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_STORAGE_ASSOCIATION_H_
