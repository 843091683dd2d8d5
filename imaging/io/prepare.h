// Makes a data set for training out of scans or phantoms: what synthvol-prepare does.
//
// A free function that runs its own threads and returns when they are done.
#ifndef SYNTHVOL_IMAGING_IO_PREPARE_H_
#define SYNTHVOL_IMAGING_IO_PREPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/dataset.h"
#include "imaging/preprocess.h"

namespace synthvol::imaging {

struct PrepareOptions {
  // Files and folders; exactly one of inputs and phantom_count is given.
  std::vector<std::string> inputs;
  int64_t phantom_count = 0;
  uint64_t phantom_seed = 0;
  std::string output;
  // Voxels a side.
  int64_t size = 64;
  WindowRule window;
  // "CT" or "MR"; a DICOM series of another modality is a failure.
  std::string modality = "CT";
  int jobs = 1;
  double train_fraction = 0.9;
  uint64_t split_seed = 0;
  // Bytes that the jobs may take together.
  int64_t memory = int64_t{4} << 30;
};

struct PrepareResult {
  DatasetManifest manifest;
  // Volumes that were there from an earlier run, and those made anew because their scan changed.
  int64_t reused = 0;
  int64_t changed = 0;
};

// Prepares every scan into OUTPUT/volumes and writes OUTPUT/manifest.json; with phantoms also
// OUTPUT/labels.csv (file, class). Volumes of an earlier run
// with the same settings are kept when their scan's digest is the same. A scan that cannot be
// prepared is listed in the manifest. Errors that end the run: options out of range, nothing found,
// nothing prepared, an output folder with other content or settings, or that cannot be written.
absl::StatusOr<PrepareResult> Prepare(const PrepareOptions& options);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_PREPARE_H_
