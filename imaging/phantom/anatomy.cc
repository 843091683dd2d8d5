#include "imaging/phantom/anatomy.h"

#include <numbers>

namespace synthvol::imaging::phantom {
namespace {

// Distance to a superellipse |x/a|^n + |y/b|^n = 1, exact on the curve.
double SuperellipseDistance(double x, double y, double a, double b, double exponent) {
  const double u = std::abs(x / a);
  const double v = std::abs(y / b);
  const double sum = std::pow(u, exponent) + std::pow(v, exponent);
  if (sum < 1e-12) return -std::min(a, b);
  const double norm = std::pow(sum, 1.0 / exponent);
  // The gradient of norm.
  const double factor = norm / sum;
  const double gx = factor * std::pow(u, exponent - 1.0) / a;
  const double gy = factor * std::pow(v, exponent - 1.0) / b;
  return (norm - 1.0) / std::max(std::hypot(gx, gy), 1e-9);
}

double SmoothStep(double low, double high, double value) {
  const double t = std::clamp((value - low) / (high - low), 0.0, 1.0);
  return t * t * (3.0 - 2.0 * t);
}

// The larger of two distances with a rounded edge of about `k` millimetres.
double SmoothMax(double a, double b, double k) {
  const double h = std::max(k - std::abs(a - b), 0.0) / k;
  return std::max(a, b) + 0.25 * h * h * k;
}

constexpr double kCavityY = -4.0;

}  // namespace

Anatomy::Anatomy(Random& random) {
  fat_mm = random.Uniform(8.0, 24.0);
  muscle_mm = random.Uniform(12.0, 20.0);
  cavity_width = random.Uniform(122.0, 142.0);
  cavity_depth = random.Uniform(78.0, 96.0);
  body_width = cavity_width + muscle_mm + fat_mm + random.Uniform(4.0, 10.0);
  body_depth = cavity_depth + 0.8 * muscle_mm + 0.8 * fat_mm + random.Uniform(14.0, 20.0);
  breasts = random.Chance(0.4);
  field_mm = 2.0 * (body_width + random.Uniform(6.0, 24.0));
  height_mm = random.Uniform(290.0, 330.0);
  apex_z = 0.5 * height_mm - random.Uniform(18.0, 30.0);
  right_dome_z = -0.5 * height_mm + random.Uniform(82.0, 112.0);
  left_dome_z = right_dome_z - random.Uniform(6.0, 18.0);
  dome_drop = random.Uniform(62.0, 84.0);
  spine_y = cavity_depth - random.Uniform(16.0, 22.0);
  spine_radius = random.Uniform(15.5, 18.5);
  vertebra_mm = random.Uniform(22.0, 26.0);
  carina_z = random.Uniform(28.0, 42.0);
  arch_z = carina_z + random.Uniform(22.0, 30.0);
  heart.centre = {random.Uniform(18.0, 28.0), -0.36 * cavity_depth,
                  right_dome_z + random.Uniform(30.0, 40.0)};
  heart.radii = {random.Uniform(56.0, 68.0), random.Uniform(38.0, 47.0),
                 random.Uniform(40.0, 50.0)};
  heart.turn_z = random.Uniform(-0.55, -0.3);
  heart.turn_y = random.Uniform(0.3, 0.6);
  fat_hu = random.Uniform(-112.0, -92.0);
  muscle_hu = random.Uniform(42.0, 62.0);
  const bool contrast = random.Chance(0.5);
  blood_hu = contrast ? random.Uniform(140.0, 280.0) : random.Uniform(38.0, 50.0);
  liver_hu = contrast ? random.Uniform(85.0, 115.0) : random.Uniform(48.0, 64.0);
  lung_hu = random.Uniform(-885.0, -820.0);
  bone_factor = random.Uniform(0.75, 1.2);
  noise_hu = random.Uniform(8.0, 24.0);
}

Vec3 Anatomy::Spine(double z) const {
  const double t = z / (0.5 * height_mm);
  return {0.0, spine_y - 9.0 * t * t - 5.0 * t, z};
}

double Anatomy::Skin(Vec3 p, double depth) const {
  // Shoulders draw in towards the neck; the belly is a little narrower than the chest.
  const double top = SmoothStep(apex_z - 35.0, 0.5 * height_mm + 25.0, p.z);
  const double bottom = SmoothStep(right_dome_z, -0.5 * height_mm, p.z);
  const double width = body_width * (1.0 - 0.16 * top - 0.06 * bottom) - depth;
  const double back = body_depth * (1.0 - 0.16 * top) - depth;
  return SuperellipseDistance(p.x, p.y, width, back, 2.5);
}

double Anatomy::CavityScale(double z) const {
  const double middle = right_dome_z + 20.0;
  if (z <= middle) return 1.0;
  const double t = std::min(1.0, (z - middle) / (apex_z - middle));
  return std::pow(std::max(0.0, 1.0 - std::pow(t, 2.6)), 1.0 / 2.2);
}

double Anatomy::Cavity(Vec3 p) const {
  const double scale = CavityScale(p.z);
  if (scale < 0.05) return 10.0 + std::max(0.0, p.z - apex_z);
  // The top leans back: the first rib slopes down to the front.
  const double lean = 18.0 * (1.0 - scale);
  const double wall = SuperellipseDistance(p.x, p.y - kCavityY - lean, cavity_width * scale,
                                           cavity_depth * (0.35 + 0.65 * scale), 2.2);
  return std::max(wall, p.z - apex_z);
}

double Anatomy::Diaphragm(Side side, double x, double y) const {
  const double top = side == Side::kRight ? right_dome_z : left_dome_z;
  const double u = (x - Sign(side) * 0.42 * cavity_width) / (0.62 * cavity_width);
  const double v = (y + 0.22 * cavity_depth) / cavity_depth;
  // Steeper behind, where the costophrenic recess is deepest.
  const double fall = u * u + (v > 0.0 ? 1.15 * v * v : 0.5 * v * v);
  return top - dome_drop * std::min(fall, 2.0);
}

double Anatomy::Lung(Side side, Vec3 p) const {
  const double s = Sign(side);
  // Distances from here on; positive is outside.
  double outside = Cavity(p) + 3.0;
  // The mediastinum: thin in front, wide around the great vessels, wider at the spine.
  const double front = SmoothStep(-0.25 * cavity_depth, -0.85 * cavity_depth, p.y);
  const double upper = SmoothStep(carina_z - 10.0, apex_z, p.z);
  const double width = 23.0 - 15.0 * front + 12.0 * upper * (1.0 - 0.5 * front);
  outside = SmoothMax(outside, width - s * p.x, 10.0);
  // The spine and the gutters beside it.
  const Vec3 spine = Spine(p.z);
  const double spinal = spine_radius + 6.0 - std::hypot(p.x, p.y - spine.y - 3.0);
  outside = SmoothMax(outside, spinal, 8.0);
  // The heart in its fat.
  outside = SmoothMax(outside, -(heart.Distance(p) - 6.0), 8.0);
  // Down to the diaphragm, whose slope makes the vertical distance too long.
  outside = SmoothMax(outside, 0.75 * (Diaphragm(side, p.x, p.y) - p.z), 6.0);
  return outside;
}

Vec3 Anatomy::Hilum(Side side) const {
  return {Sign(side) * 38.0, Spine(carina_z).y - 48.0,
          carina_z - (side == Side::kRight ? 20.0 : 10.0)};
}

Vec3 Anatomy::OnChestWall(Side side, double around, double z, double outside_mm) const {
  const double scale = std::max(CavityScale(z), 0.3);
  const double angle = std::numbers::pi * (0.5 - 0.985 * around + 0.0);
  const double a = cavity_width * scale + outside_mm;
  const double b = cavity_depth * (0.35 + 0.65 * scale) + outside_mm;
  // The superellipse's own parametrisation.
  const double c = std::cos(angle);
  const double t = std::sin(angle);
  const double power = 2.0 / 2.2;
  const double lean = 18.0 * (1.0 - scale);
  return {Sign(side) * a * std::pow(std::max(c, 0.0), power),
          kCavityY + lean + b * std::copysign(std::pow(std::abs(t), power), t), z};
}

std::vector<Vec3> Anatomy::Aorta() const {
  const double back = Spine(carina_z).y - spine_radius - 10.0;
  return {{4.0, heart.centre.y + 4.0, carina_z - 45.0},
          {-12.0, heart.centre.y + 2.0, carina_z - 18.0},
          {-14.0, heart.centre.y + 6.0, carina_z + 4.0},
          {-6.0, heart.centre.y + 16.0, arch_z - 6.0},
          {6.0, 0.5 * (heart.centre.y + back) + 4.0, arch_z},
          {18.0, back - 12.0, arch_z - 3.0},
          {25.0, back, arch_z - 18.0},
          {23.0, Spine(0.0).y - spine_radius - 6.0, 0.0},
          {17.0, Spine(right_dome_z).y - spine_radius - 9.0, right_dome_z},
          {6.0, Spine(-0.5 * height_mm).y - spine_radius - 13.0, -0.5 * height_mm - 10.0}};
}

}  // namespace synthvol::imaging::phantom
