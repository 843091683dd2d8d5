// A volume that shapes are painted on. A shape is a signed distance in millimetres, negative
// inside; a voxel at its border takes the share that the shape covers, so that pictures are
// anti-aliased at every size.
//
// Not thread-safe; owns its voxels.
#ifndef SYNTHVOL_IMAGING_PHANTOM_CANVAS_H_
#define SYNTHVOL_IMAGING_PHANTOM_CANVAS_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "imaging/volume.h"

namespace synthvol::imaging::phantom {

// A point or vector in LPS millimetres.
struct Vec3 {
  double x = 0.0;
  double y = 0.0;
  double z = 0.0;

  friend Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
  friend Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
  friend Vec3 operator*(double s, Vec3 a) { return {s * a.x, s * a.y, s * a.z}; }
};

inline double Dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline double Norm(Vec3 a) { return std::sqrt(Dot(a, a)); }
inline Vec3 Cross(Vec3 a, Vec3 b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
// Returns `a` at length 1; a zero vector becomes the z axis.
inline Vec3 Unit(Vec3 a) {
  const double norm = Norm(a);
  return norm > 0.0 ? (1.0 / norm) * a : Vec3{0.0, 0.0, 1.0};
}

// A block that a shape does not leave.
struct Box {
  Vec3 low;
  Vec3 high;
};

// Returns the block around a ball.
inline Box Around(Vec3 centre, Vec3 half) { return {centre - half, centre + half}; }

// An ellipsoid turned about the y and z axes.
struct Ellipsoid {
  Vec3 centre;
  Vec3 radii;
  double turn_z = 0.0;  // radians
  double turn_y = 0.0;

  // Returns the distance to first order, exact on the surface.
  double Distance(Vec3 p) const;
  Box Bounds() const;
};

// A segment with a radius at either end.
struct Capsule {
  Vec3 from;
  Vec3 to;
  double from_radius = 1.0;
  double to_radius = 1.0;

  double Distance(Vec3 p) const;
  Box Bounds() const;
};

class Canvas {
 public:
  explicit Canvas(const Geometry& geometry);

  // Paints `hu` where `distance` (Vec3 -> millimetres) is negative, inside `box`. `strength` in
  // (0, 1] makes the paint transparent.
  template <typename Distance>
  void Paint(const Box& box, double hu, const Distance& distance, double strength = 1.0) {
    PaintWith(box, distance, strength, [hu](Vec3) { return hu; });
  }

  // As Paint, with a colour that depends on the place: `hu` is Vec3 -> HU.
  template <typename Distance, typename Hu>
  void PaintWith(const Box& box, const Distance& distance, double strength, const Hu& hu) {
    const Range xs = Covered(0, box.low.x, box.high.x);
    const Range ys = Covered(1, box.low.y, box.high.y);
    const Range zs = Covered(2, box.low.z, box.high.z);
    for (int64_t z = zs.first; z < zs.last; ++z) {
      for (int64_t y = ys.first; y < ys.last; ++y) {
        for (int64_t x = xs.first; x < xs.last; ++x) {
          const Vec3 p = Place(x, y, z);
          const double share = std::clamp(0.5 - distance(p) / voxel_mm_, 0.0, 1.0) * strength;
          if (share <= 0.0) continue;
          float& voxel = image_.At(x, y, z);
          voxel += static_cast<float>(share * (hu(p) - static_cast<double>(voxel)));
        }
      }
    }
  }

  void Paint(const Ellipsoid& shape, double hu, double strength = 1.0);
  // A capsule thinner than a voxel is painted as transparent as its cross-section is small.
  void Paint(const Capsule& shape, double hu);

  // Returns a block around everything.
  Box Everything() const;
  // Returns the mean voxel size in millimetres.
  double voxel_mm() const { return voxel_mm_; }
  FloatVolume& image() { return image_; }

 private:
  struct Range {
    int64_t first;
    int64_t last;  // exclusive
  };

  Vec3 Place(int64_t x, int64_t y, int64_t z) const {
    const auto& g = image_.geometry;
    return {g.origin[0] + static_cast<double>(x) * g.spacing[0],
            g.origin[1] + static_cast<double>(y) * g.spacing[1],
            g.origin[2] + static_cast<double>(z) * g.spacing[2]};
  }
  Range Covered(size_t axis, double low, double high) const;

  FloatVolume image_;
  double voxel_mm_;
};

}  // namespace synthvol::imaging::phantom

#endif  // SYNTHVOL_IMAGING_PHANTOM_CANVAS_H_
