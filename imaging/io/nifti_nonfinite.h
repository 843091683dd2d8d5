// What nifticlib hides as it reads: NaN and infinity become 0 (water, in HU), and voxels that a
// truncated file lacks become 0 too.
//
// A free function, safe from several threads.
#ifndef SYNTHVOL_IMAGING_IO_NIFTI_NONFINITE_H_
#define SYNTHVOL_IMAGING_IO_NIFTI_NONFINITE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace synthvol::imaging {

// Sets `voxels`, which were read from the NIfTI-1 file `path` in its own order, to NaN where the
// file's voxel is not finite. DATA_LOSS when the file ends early, also for integers.
absl::Status RestoreNonFinite(const std::string& path, absl::Span<float> voxels);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_NIFTI_NONFINITE_H_
