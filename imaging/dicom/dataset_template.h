// A dataset that is encoded once and written many times with a few other values. Private to
// imaging/dicom.
//
// Immutable after Create.
#ifndef SYNTHVOL_IMAGING_DICOM_DATASET_TEMPLATE_H_
#define SYNTHVOL_IMAGING_DICOM_DATASET_TEMPLATE_H_

#include "dcmtk/config/osconfig.h"
// DCMTK wants its configuration first.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dcmtk/dcmdata/dctk.h"

namespace synthvol::imaging::dicom {

class DatasetTemplate {
 public:
  // Encodes `dataset` in explicit or implicit little endian. `varying` lists text attributes of it,
  // in ascending order, whose values Append replaces. INTERNAL when one is missing.
  static absl::StatusOr<DatasetTemplate> Create(DcmDataset& dataset, bool explicit_vr,
                                                absl::Span<const uint32_t> varying);

  // Appends the dataset with `values` for the varying attributes, in their order.
  void Append(absl::Span<const std::string> values, std::string& out) const;

 private:
  // Bytes that stay, followed by one attribute that varies (or, the last time, by none).
  struct Piece {
    std::string fixed;
    uint32_t tag = 0;
    std::string vr;
  };

  explicit DatasetTemplate(bool explicit_vr) : explicit_vr_(explicit_vr) {}

  bool explicit_vr_;
  std::vector<Piece> pieces_;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_DATASET_TEMPLATE_H_
