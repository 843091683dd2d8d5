// Multi-scale structural similarity of volumes (Wang, Simoncelli and Bovik 2003), in 3D.
//
// Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_MS_SSIM_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_MS_SSIM_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace synthvol::model {

// Returns how many of the five published scales fit: the coarsest side is at least the window's 11
// voxels. 64 gives 3, 128 gives 4, 256 gives 5; below 11, 0.
int MsSsimScales(int64_t size);

// Compares two cubes [size, size, size] on [-1, 1] (data range 2). Gaussian window of 11 voxels,
// sigma 1.5, only where it lies inside; halved by averaging 2x2x2 between scales; K1 0.01, K2 0.03;
// the published weights of the scales that fit, rescaled to sum 1; contrast terms below 0 count as
// 0. 1 for equal volumes. INVALID_ARGUMENT when the sizes disagree or are below 11.
absl::StatusOr<double> MsSsim(absl::Span<const float> a, absl::Span<const float> b, int64_t size);

// Averages blocks of a cube down to `target` voxels a side, which must divide `size`.
std::vector<float> AverageDown(absl::Span<const float> volume, int64_t size, int64_t target);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_MS_SSIM_H_
