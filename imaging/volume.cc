#include "imaging/volume.h"

#include <algorithm>
#include <cmath>

namespace synthvol::imaging {

std::array<double, 3> Geometry::Position(double x, double y, double z) const {
  std::array<double, 3> position = origin;
  const std::array<double, 3> steps{x * spacing[0], y * spacing[1], z * spacing[2]};
  for (size_t row = 0; row < 3; ++row) {
    for (size_t axis = 0; axis < 3; ++axis) {
      position[row] += direction[row * 3 + axis] * steps[axis];
    }
  }
  return position;
}

float Window::ToUnit(double stored) const {
  if (std::isnan(stored)) return -1.0F;
  const double clamped = std::clamp(stored, low, high);
  return static_cast<float>(2.0 * (clamped - low) / (high - low) - 1.0);
}

int16_t Window::ToStored(float unit) const {
  if (std::isnan(unit)) return static_cast<int16_t>(low);
  // In float, so that vectorised kernels can reproduce it bit for bit.
  const float half_range = static_cast<float>((high - low) / 2.0);
  const float centre = static_cast<float>((high + low) / 2.0);
  const float clamped = std::clamp(unit, -1.0F, 1.0F);
  return static_cast<int16_t>(std::lround(std::fma(clamped, half_range, centre)));
}

Geometry CentredCube(int64_t size, std::array<double, 3> spacing) {
  Geometry geometry;
  geometry.size = {size, size, size};
  geometry.spacing = spacing;
  for (size_t axis = 0; axis < 3; ++axis) {
    geometry.origin[axis] = -0.5 * static_cast<double>(size - 1) * spacing[axis];
  }
  return geometry;
}

}  // namespace synthvol::imaging
