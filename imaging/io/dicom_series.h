// A DICOM series as one volume: which files belong to it, in which order, and whether they fill
// space evenly.
//
// Free functions, safe from several threads.
#ifndef SYNTHVOL_IMAGING_IO_DICOM_SERIES_H_
#define SYNTHVOL_IMAGING_IO_DICOM_SERIES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/io/dicom_header.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// Slices in order along their normal, and the grid they make.
struct DicomStack {
  std::vector<DicomHeader> slices;
  Geometry geometry;
};

// Sorts the images of one series. Localizers and files without pixels are left out; of files at
// one place with equal pixels the first is kept. INVALID_ARGUMENT names a file and what is wrong:
// no images, a single slice, no position or orientation, several frames, mixed sizes or
// orientations, different images at one place, missing or unevenly spaced slices, gantry tilt.
absl::StatusOr<DicomStack> StackSlices(std::vector<DicomHeader> headers, const std::string& where);

// Reads all slices in stored units (HU). UNIMPLEMENTED names the file and the transfer syntax when
// the pixels cannot be decoded.
absl::StatusOr<FloatVolume> ReadDicomStack(const DicomStack& stack);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_DICOM_SERIES_H_
