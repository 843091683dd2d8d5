#include "imaging/phantom/canvas.h"

#include <numbers>

namespace synthvol::imaging::phantom {
namespace {

constexpr float kAirHu = -1000.0F;

}  // namespace

double Ellipsoid::Distance(Vec3 p) const {
  const Vec3 q = p - centre;
  // Into the ellipsoid's own axes: back about z, then back about y.
  const double cz = std::cos(turn_z);
  const double sz = std::sin(turn_z);
  const Vec3 r{cz * q.x + sz * q.y, -sz * q.x + cz * q.y, q.z};
  const double cy = std::cos(turn_y);
  const double sy = std::sin(turn_y);
  const Vec3 u{cy * r.x - sy * r.z, r.y, sy * r.x + cy * r.z};
  const Vec3 scaled{u.x / radii.x, u.y / radii.y, u.z / radii.z};
  const Vec3 gradient{scaled.x / radii.x, scaled.y / radii.y, scaled.z / radii.z};
  const double norm = Norm(scaled);
  const double slope = Norm(gradient);
  if (slope < 1e-9) return -std::min({radii.x, radii.y, radii.z});
  return norm * (norm - 1.0) / slope;
}

Box Ellipsoid::Bounds() const {
  const double largest = std::max({radii.x, radii.y, radii.z});
  return Around(centre, {largest, largest, largest});
}

double Capsule::Distance(Vec3 p) const {
  const Vec3 axis = to - from;
  const double length2 = Dot(axis, axis);
  const double t = length2 > 0.0 ? std::clamp(Dot(p - from, axis) / length2, 0.0, 1.0) : 0.0;
  return Norm(p - (from + t * axis)) - (from_radius + t * (to_radius - from_radius));
}

Box Capsule::Bounds() const {
  const double r = std::max(from_radius, to_radius);
  return {{std::min(from.x, to.x) - r, std::min(from.y, to.y) - r, std::min(from.z, to.z) - r},
          {std::max(from.x, to.x) + r, std::max(from.y, to.y) + r, std::max(from.z, to.z) + r}};
}

Canvas::Canvas(const Geometry& geometry)
    : image_{geometry, std::vector<float>(static_cast<size_t>(geometry.VoxelCount()), kAirHu)},
      voxel_mm_((geometry.spacing[0] + geometry.spacing[1] + geometry.spacing[2]) / 3.0) {}

void Canvas::Paint(const Ellipsoid& shape, double hu, double strength) {
  Paint(
      shape.Bounds(), hu, [&](Vec3 p) { return shape.Distance(p); }, strength);
}

void Canvas::Paint(const Capsule& shape, double hu) {
  const double radius = 0.5 * (shape.from_radius + shape.to_radius);
  const double section = std::numbers::pi * radius * radius / (voxel_mm_ * voxel_mm_);
  Paint(
      shape.Bounds(), hu, [&](Vec3 p) { return shape.Distance(p); }, std::min(1.0, section));
}

Box Canvas::Everything() const {
  const auto& g = image_.geometry;
  return {Place(0, 0, 0), Place(g.size[0] - 1, g.size[1] - 1, g.size[2] - 1)};
}

Canvas::Range Canvas::Covered(size_t axis, double low, double high) const {
  const auto& g = image_.geometry;
  const double margin = 0.5 * voxel_mm_;
  const double first = std::ceil((low - margin - g.origin[axis]) / g.spacing[axis]);
  const double last = std::floor((high + margin - g.origin[axis]) / g.spacing[axis]) + 1.0;
  const auto extent = static_cast<double>(g.size[axis]);
  return {static_cast<int64_t>(std::clamp(first, 0.0, extent)),
          static_cast<int64_t>(std::clamp(last, 0.0, extent))};
}

}  // namespace synthvol::imaging::phantom
