// One patient: the dimensions that a seed draws, and the surfaces that follow from them.
//
// Plain values; concurrent reads are safe. Coordinates are LPS millimetres around the middle of
// the scanned block: x to the patient's left, y to the back, z to the head.
#ifndef SYNTHVOL_IMAGING_PHANTOM_ANATOMY_H_
#define SYNTHVOL_IMAGING_PHANTOM_ANATOMY_H_

#include <array>
#include <vector>

#include "imaging/phantom/canvas.h"
#include "imaging/phantom/random.h"

namespace synthvol::imaging::phantom {

enum class Side { kRight = -1, kLeft = 1 };

inline constexpr std::array<Side, 2> kSides{Side::kRight, Side::kLeft};
inline double Sign(Side side) { return static_cast<double>(static_cast<int>(side)); }

struct Anatomy {
  explicit Anatomy(Random& random);

  // The scanned block.
  double field_mm;   // along x and y
  double height_mm;  // along z

  // The trunk: half width, half depth, and the thickness of fat and of muscle around the ribs.
  double body_width;
  double body_depth;
  double fat_mm;
  double muscle_mm;
  bool breasts;

  // The cavity: half width and half depth at its widest, and its top.
  double cavity_width;
  double cavity_depth;
  double apex_z;
  // Tops of the diaphragm's domes, and how far they fall off to the chest wall.
  double right_dome_z;
  double left_dome_z;
  double dome_drop;

  // The middle of the vertebral bodies at z = 0, their radius, their spacing.
  double spine_y;
  double spine_radius;
  double vertebra_mm;

  double carina_z;
  double arch_z;
  Ellipsoid heart;

  // HU.
  double fat_hu;
  double muscle_hu;
  double blood_hu;
  double liver_hu;
  double lung_hu;
  double bone_factor;
  double noise_hu;

  // Returns the middle of the vertebral bodies at a height (the thoracic kyphosis).
  Vec3 Spine(double z) const;
  // Distances to the skin, to the skin less `depth` millimetres, and to the chest wall's inside.
  double Skin(Vec3 p, double depth = 0.0) const;
  double Cavity(Vec3 p) const;
  // Distance to the lung of one side, its hilum, mediastinum and diaphragm cut out.
  double Lung(Side side, Vec3 p) const;
  // Height of the diaphragm above a place, over the whole width.
  double Diaphragm(Side side, double x, double y) const;
  // Where vessels and airways enter a lung.
  Vec3 Hilum(Side side) const;
  // A point on the ribs' course: `around` is 0 at the spine and 1 at the breastbone, `z` the height
  // at which the cross-section is taken.
  Vec3 OnChestWall(Side side, double around, double z, double outside_mm) const;
  // The cavity's scale (0..1) at a height.
  double CavityScale(double z) const;
  // Course of the aorta, from the heart over the arch to the bottom of the block.
  std::vector<Vec3> Aorta() const;
};

}  // namespace synthvol::imaging::phantom

#endif  // SYNTHVOL_IMAGING_PHANTOM_ANATOMY_H_
