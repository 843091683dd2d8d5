// Turns the slices of one volume into DICOM files (PS3.10) while they are being made.
//
// What is the same on every slice is encoded once, at Create; a slice adds its own few attributes
// and its pixels. Memory is constant: a slice's bytes, whatever the number of slices.
//
// Thread-compatible: one thread at a time. Owns everything it needs.
#ifndef SYNTHVOL_IMAGING_DICOM_SERIES_ENCODER_H_
#define SYNTHVOL_IMAGING_DICOM_SERIES_ENCODER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/dicom/series_description.h"
#include "imaging/dicom/uid.h"

namespace synthvol::imaging::dicom {

// What names an instance towards a PACS.
struct InstanceIdentity {
  std::string sop_class_uid;
  std::string sop_instance_uid;
  std::string transfer_syntax_uid;
};

// The bytes that a slice adds to its file. A file of Storage::kSlices is one slice, first and last;
// a file of Storage::kEnhanced is the bytes of all slices, one after the other.
struct EncodedSlice {
  // Which file, 0 .. instance_count() - 1.
  int64_t instance = 0;
  bool first_of_instance = false;
  bool last_of_instance = false;
  std::string bytes;
};

class SeriesEncoder {
 public:
  // Validates the description and encodes what all slices share. INVALID_ARGUMENT as Validate;
  // FAILED_PRECONDITION when DCMTK's data dictionary is not installed.
  static absl::StatusOr<std::unique_ptr<SeriesEncoder>> Create(
      const SeriesDescription& description);

  ~SeriesEncoder();
  SeriesEncoder(const SeriesEncoder&) = delete;
  SeriesEncoder& operator=(const SeriesEncoder&) = delete;

  // Encodes slice `index` (0 is the one at the geometry's origin) of stored units
  // [rows, columns]. Replaces `slice`; its string is reused, so that a loop allocates nothing.
  // Storage::kSlices takes slices in any order, any number of times; Storage::kEnhanced from 0 to
  // the last, then may start again at 0. INVALID_ARGUMENT for a slice that does not exist, a wrong
  // number of voxels or a wrong order.
  absl::Status EncodeSlice(int64_t index, absl::Span<const int16_t> stored, EncodedSlice* slice);

  // Slices of the volume, and files that they become.
  int64_t slice_count() const;
  int64_t instance_count() const;
  // Returns what names file `instance`; it must exist.
  InstanceIdentity Identity(int64_t instance) const;
  // Returns "IM0001.dcm" for file 0.
  std::string FileName(int64_t instance) const;
  const SeriesUids& uids() const;

 private:
  struct State;
  explicit SeriesEncoder(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_SERIES_ENCODER_H_
