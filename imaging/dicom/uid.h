// Deterministic UIDs: the same description gives the same UIDs, so a repeated delivery overwrites
// instead of duplicating; any other model, seed, geometry or option gives others.
//
// Free functions are pure; SeriesUids is immutable and may be shared between threads.
#ifndef SYNTHVOL_IMAGING_DICOM_UID_H_
#define SYNTHVOL_IMAGING_DICOM_UID_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "imaging/dicom/series_description.h"

namespace synthvol::imaging::dicom {

// Returns "2.25." and a UUID as a decimal number (PS3.5 B.2). The UUID is of version 8 (RFC 9562
// section 5.8), made from the SHA-256 of `name`; always 44 characters.
std::string UidFromName(std::string_view name);

// The UIDs of one series.
class SeriesUids {
 public:
  // Derives them from all of `description`; a study UID that the caller gave is kept.
  explicit SeriesUids(const SeriesDescription& description);

  const std::string& study() const { return study_; }
  const std::string& series() const { return series_; }
  const std::string& frame_of_reference() const { return frame_of_reference_; }
  const std::string& dimension_organization() const { return dimension_organization_; }
  // Names the making of this volume where the standard wants an event named.
  const std::string& synthesis_event() const { return synthesis_event_; }
  // Returns the SOP Instance UID of instance `index`.
  std::string Instance(int64_t index) const;
  // Returns 16 hexadecimal digits that are the same throughout the study, for a synthetic Patient
  // ID.
  const std::string& study_token() const { return study_token_; }

 private:
  std::string series_key_;
  std::string study_token_;
  std::string study_;
  std::string series_;
  std::string frame_of_reference_;
  std::string dimension_organization_;
  std::string synthesis_event_;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_UID_H_
