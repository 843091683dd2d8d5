#include "imaging/io/orientation.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace synthvol::imaging {
namespace {

// For each patient axis, the image axis that runs along it, and whether backwards.
struct Arrangement {
  std::array<size_t, 3> axis{};
  std::array<bool, 3> flipped{};
};

absl::StatusOr<Arrangement> FindArrangement(const Geometry& geometry, const std::string& where) {
  Arrangement arrangement;
  double worst_degrees = 0.0;
  std::array<bool, 3> taken{};
  for (size_t image_axis = 0; image_axis < 3; ++image_axis) {
    const std::array<double, 3> column{geometry.direction[image_axis],
                                       geometry.direction[3 + image_axis],
                                       geometry.direction[6 + image_axis]};
    const double norm = std::hypot(column[0], column[1], column[2]);
    size_t closest = 0;
    for (size_t row = 1; row < 3; ++row) {
      if (std::abs(column[row]) > std::abs(column[closest])) closest = row;
    }
    if (!std::isfinite(norm) || std::abs(norm - 1.0) > 1e-2 || taken[closest]) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": axis directions are no orthogonal frame"));
    }
    taken[closest] = true;
    arrangement.axis[closest] = image_axis;
    arrangement.flipped[closest] = column[closest] < 0.0;
    const double cosine = std::min(1.0, std::abs(column[closest]) / norm);
    worst_degrees = std::max(worst_degrees, std::acos(cosine) * 180.0 / std::numbers::pi);
  }
  if (worst_degrees > kMaxTiltDegrees) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: oblique: an axis is %.1f degrees off the patient's axes (gantry tilt?); expected at "
        "most %.1f",
        where, worst_degrees, kMaxTiltDegrees));
  }
  return arrangement;
}

}  // namespace

absl::StatusOr<FloatVolume> ToAxial(FloatVolume volume, const std::string& where) {
  const Geometry& from = volume.geometry;
  absl::StatusOr<Arrangement> found = FindArrangement(from, where);
  if (!found.ok()) return found.status();
  const auto& [axis, flipped] = *found;
  Geometry to;
  std::array<double, 3> corner{};  // image indices of the new voxel (0, 0, 0)
  for (size_t i = 0; i < 3; ++i) {
    to.size[i] = from.size[axis[i]];
    to.spacing[i] = from.spacing[axis[i]];
    corner[axis[i]] = flipped[i] ? static_cast<double>(from.size[axis[i]] - 1) : 0.0;
  }
  to.origin = from.Position(corner[0], corner[1], corner[2]);
  if (axis == std::array<size_t, 3>{0, 1, 2} && flipped == std::array<bool, 3>{}) {
    volume.geometry = to;
    return volume;
  }
  // Steps through the old voxels along the new axes.
  const std::array<int64_t, 3> stride{1, from.size[0], from.size[0] * from.size[1]};
  std::array<int64_t, 3> step{};
  int64_t start = 0;
  for (size_t i = 0; i < 3; ++i) {
    step[i] = flipped[i] ? -stride[axis[i]] : stride[axis[i]];
    if (flipped[i]) start += stride[axis[i]] * (to.size[i] - 1);
  }
  FloatVolume result{to, std::vector<float>(volume.voxels.size())};
  float* out = result.voxels.data();
  for (int64_t z = 0; z < to.size[2]; ++z) {
    for (int64_t y = 0; y < to.size[1]; ++y) {
      const float* in = volume.voxels.data() + start + z * step[2] + y * step[1];
      for (int64_t x = 0; x < to.size[0]; ++x) *out++ = in[x * step[0]];
    }
  }
  return result;
}

}  // namespace synthvol::imaging
