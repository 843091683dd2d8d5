// What the reader needs to know of one DICOM file, pixels left alone.
//
// Plain values and a pure function; safe from several threads.
#ifndef SYNTHVOL_IMAGING_IO_DICOM_HEADER_H_
#define SYNTHVOL_IMAGING_IO_DICOM_HEADER_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace synthvol::imaging {

struct DicomHeader {
  std::string file;
  std::string patient_id;           // (0010,0020)
  std::string modality;             // (0008,0060)
  std::string image_type;           // (0008,0008)
  std::string series_uid;           // (0020,000E)
  std::string sop_uid;              // (0008,0018); empty in the wild
  std::string transfer_syntax_uid;  // (0002,0010)
  int64_t rows = 0;                 // (0028,0010); 0 when the file is no image
  int64_t columns = 0;              // (0028,0011)
  int64_t frames = 1;               // (0028,0008)
  // Millimetres between rows, between columns (0028,0030).
  std::optional<std::array<double, 2>> pixel_spacing;
  // Direction of a row, direction of a column (0020,0037).
  std::optional<std::array<double, 6>> orientation;
  // Centre of the first pixel (0020,0032).
  std::optional<std::array<double, 3>> position;

  // Tells whether it is a scout image, which is no part of the volume.
  bool IsLocalizer() const;
};

// Tells by the preamble or the extension whether a file may be DICOM.
bool LooksLikeDicom(const std::string& path);

// Reads the header. DATA_LOSS names the file when it is no DICOM or damaged.
absl::StatusOr<DicomHeader> ReadDicomHeader(const std::string& path);

// Returns "JPEG Baseline (1.2.840.10008.1.2.4.50)" and the like, for messages.
std::string TransferSyntaxName(const std::string& uid);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_DICOM_HEADER_H_
