// From a whole volume in a SliceStore to the files that the user asked for.
//
// Free functions; files appear under their names only when whole.
#ifndef SYNTHVOL_CLIENT_CLI_VOLUME_OUTPUT_H_
#define SYNTHVOL_CLIENT_CLI_VOLUME_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/slice_store.h"

namespace synthvol::client {

// What `generate` writes for each volume.
struct OutputOptions {
  std::string folder;
  // "dicom", "nifti", "npy", "raw" or "png".
  std::string format;
  bool compress = true;  // .nii.gz rather than .nii
  bool gif = false;      // beside it: an animation through the slices
  bool montage = false;  // beside it: a PNG of the mid-planes
};

// Returns "NAME-seed-000042".
std::string OutputStem(const std::string& model_name, uint64_t seed);

// Writes the files of `stem` and returns their names within the folder: the volume first.
absl::StatusOr<std::vector<std::string>> WriteOutputs(const OutputOptions& options,
                                                      const std::string& stem, SliceStore& store);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_VOLUME_OUTPUT_H_
