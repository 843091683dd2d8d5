// Brings a volume to axial LPS: x to the patient's left, y to the back, z to the head.
//
// Pure functions.
#ifndef SYNTHVOL_IMAGING_IO_ORIENTATION_H_
#define SYNTHVOL_IMAGING_IO_ORIENTATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// Axes this far from the patient's are taken as theirs: rounding in headers, not a tilt.
inline constexpr double kMaxTiltDegrees = 0.5;

// Permutes and flips axes so that the directions become the identity; voxels move, positions stay.
// INVALID_ARGUMENT names `where` and the angle when an axis is oblique, or when the directions are
// no frame at all.
absl::StatusOr<FloatVolume> ToAxial(FloatVolume volume, const std::string& where);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_ORIENTATION_H_
