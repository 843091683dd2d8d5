// NIfTI-1 single files (.nii, .nii.gz): what stands before the voxels.
//
// Pure functions.
#ifndef SYNTHVOL_IMAGING_NIFTI_H_
#define SYNTHVOL_IMAGING_NIFTI_H_

#include <array>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// Bytes before the voxels: the header and an empty extension flag.
inline constexpr size_t kNiftiDataOffset = 352;

// Returns the 352 bytes before the voxels. NIfTI's world is RAS, so x and y of the LPS geometry
// change sign; sform and qform (code 1, scanner) both say it. INVALID_ARGUMENT when an axis has
// more than 32767 voxels (the format's limit) or the directions are no rotation.
absl::StatusOr<std::string> FormatNiftiHeader(const Geometry& geometry, VoxelType type);

// A rotation as NIfTI keeps it: a unit quaternion (a >= 0 left out) and the sign of axis k.
struct NiftiRotation {
  std::array<double, 3> bcd{};
  double qfac = 1.0;
};

// Converts an orthonormal matrix, row-major, as nifti1.h's method 2 reads it back.
NiftiRotation RotationToQuaternion(std::array<double, 9> rotation);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_NIFTI_H_
