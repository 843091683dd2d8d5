// Scans in the formats that users bring: finding them in folders and reading them as axial
// volumes.
//
// Plain values and free functions, safe from several threads. The only public header of imaging/io
// beside prepare.h; ITK does not show through it.
#ifndef SYNTHVOL_IMAGING_IO_SCAN_H_
#define SYNTHVOL_IMAGING_IO_SCAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/dataset.h"
#include "imaging/io/dicom_header.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// Something that can be read as one volume: an image file, or the slices of a DICOM series.
struct Scan {
  // The file, or the series' folder; absolute. "#series=UID" follows where the folder holds
  // several.
  std::string name;
  // Scans of one patient share it: a pseudonym of the DICOM Patient ID, the "sub-..." part of a
  // BIDS name, otherwise the file's name.
  std::string patient;
  // "CT", "MR", ... as DICOM says; empty where the format does not say.
  std::string modality;
  // Headers of a DICOM series' files; empty for an image file.
  std::vector<DicomHeader> slices;

  bool IsDicom() const { return !slices.empty(); }
};

struct ScanSearch {
  // Sorted by name.
  std::vector<Scan> scans;
  // Inputs that are not there or cannot be read as anything.
  std::vector<DatasetFailure> failures;
};

// Searches files and folders (recursively) for scans. Files of other kinds in folders are passed
// over; a file that is named itself must be a scan.
ScanSearch FindScans(absl::Span<const std::string> inputs);

// Reads a scan in stored units (HU), brought to axial LPS. Errors name the file and what was
// expected; those of image_file.h, dicom_series.h and orientation.h.
absl::StatusOr<FloatVolume> ReadScan(const Scan& scan);

// Reads the one volume that `path`, a file or a folder, holds. INVALID_ARGUMENT lists what is there
// when it holds several, and says so when it holds none.
absl::StatusOr<FloatVolume> ReadVolume(const std::string& path);

// Returns the SHA-256 over the contents of the scan's files, hexadecimal.
absl::StatusOr<std::string> ScanDigest(const Scan& scan);

// Estimates the bytes that reading and preparing the scan takes, from its header.
absl::StatusOr<int64_t> EstimateMemory(const Scan& scan);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_SCAN_H_
