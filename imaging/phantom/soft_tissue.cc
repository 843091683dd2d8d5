// Trunk, abdomen, lungs, heart and great vessels.
#include <numbers>

#include "imaging/phantom/thorax.h"

namespace synthvol::imaging::phantom {
namespace {

void PaintTube(const std::vector<Vec3>& course, double radius, double hu, Canvas& canvas) {
  for (size_t i = 1; i < course.size(); ++i) {
    canvas.Paint(Capsule{course[i - 1], course[i], radius, radius}, hu);
  }
}

// Distance to what lies below the diaphragm inside the ribs.
double BelowDiaphragm(const Anatomy& a, Vec3 p) {
  // Across the middle the two domes meet in the central tendon.
  const double height =
      std::max(a.Diaphragm(Side::kRight, p.x, p.y), a.Diaphragm(Side::kLeft, p.x, p.y));
  return std::max(a.Cavity(p) + 4.0, 0.75 * (p.z - height) + 3.0);
}

}  // namespace

double Texture::Lattice(int64_t x, int64_t y, int64_t z) const {
  const auto key = static_cast<uint64_t>(x) * 0x8DA6B343ULL ^
                   static_cast<uint64_t>(y) * 0xD8163841ULL ^
                   static_cast<uint64_t>(z) * 0xCB1AB31FULL;
  return static_cast<double>(Mix(seed_ ^ Mix(key)) >> 11) * 0x1.0p-52 - 1.0;
}

double Texture::At(Vec3 p) const {
  const Vec3 q = (1.0 / scale_) * p;
  const double fx = std::floor(q.x);
  const double fy = std::floor(q.y);
  const double fz = std::floor(q.z);
  const auto fade = [](double t) { return t * t * (3.0 - 2.0 * t); };
  const double tx = fade(q.x - fx);
  const double ty = fade(q.y - fy);
  const double tz = fade(q.z - fz);
  double sum = 0.0;
  for (int corner = 0; corner < 8; ++corner) {
    const int dx = corner & 1;
    const int dy = (corner >> 1) & 1;
    const int dz = corner >> 2;
    const double weight =
        (dx != 0 ? tx : 1.0 - tx) * (dy != 0 ? ty : 1.0 - ty) * (dz != 0 ? tz : 1.0 - tz);
    sum += weight * Lattice(static_cast<int64_t>(fx) + dx, static_cast<int64_t>(fy) + dy,
                            static_cast<int64_t>(fz) + dz);
  }
  return 1.6 * sum;
}

void PaintTrunk(const Anatomy& a, const Texture& texture, Canvas& canvas) {
  const Box all = canvas.Everything();
  canvas.Paint(all, 20.0, [&](Vec3 p) { return a.Skin(p); });
  canvas.Paint(all, a.fat_hu, [&](Vec3 p) { return a.Skin(p, 2.0); });
  if (a.breasts) {
    for (const Side side : kSides) {
      const Ellipsoid breast{{Sign(side) * 0.52 * a.body_width, -0.80 * a.body_depth, 5.0},
                             {52.0, 34.0, 48.0}};
      canvas.Paint(breast, a.fat_hu);
      const Ellipsoid gland{{breast.centre.x, breast.centre.y - 10.0, 2.0}, {26.0, 16.0, 24.0}};
      canvas.Paint(gland, 5.0, 0.6);
    }
  }
  canvas.PaintWith(
      all, [&](Vec3 p) { return a.Skin(p, a.fat_mm + 2.0); }, 1.0,
      [&](Vec3 p) {
        // Layers of muscle with fat between them.
        const double layer = std::sin(a.Skin(p) * 2.0 * std::numbers::pi / (0.9 * a.muscle_mm));
        const double fat = std::clamp(1.2 * (layer + texture.At(p)) - 1.0, 0.0, 0.8);
        return a.muscle_hu + fat * (a.fat_hu - a.muscle_hu);
      });
  // The intercostal layer, then the fat inside it.
  canvas.Paint(all, a.muscle_hu, [&](Vec3 p) { return a.Cavity(p) - 4.0; });
  canvas.Paint(all, a.fat_hu + 30.0, [&](Vec3 p) { return a.Cavity(p) + 3.0; });
}

void PaintAbdomen(const Anatomy& a, Random& random, Canvas& canvas) {
  Box below = canvas.Everything();
  below.high.z = std::max(a.right_dome_z, a.left_dome_z) + 5.0;
  const auto cavity = [&](Vec3 p) { return BelowDiaphragm(a, p); };
  canvas.Paint(below, a.muscle_hu, [&](Vec3 p) { return cavity(p) - 2.5; });
  canvas.Paint(below, a.fat_hu, cavity);
  const double edge = random.Uniform(20.0, 45.0);
  canvas.Paint(below, a.liver_hu, [&](Vec3 p) {
    // The left lobe tapers to the front.
    return std::max(cavity(p) + 2.0, 0.8 * (p.x - edge + 0.5 * (p.y + 30.0)));
  });
  const double floor_z = a.left_dome_z - 34.0;
  const Ellipsoid spleen{{0.70 * a.cavity_width, 0.42 * a.cavity_depth, floor_z},
                         {26.0, 44.0, 50.0}};
  canvas.Paint(below, a.liver_hu - 4.0,
               [&](Vec3 p) { return std::max(cavity(p) + 3.0, spleen.Distance(p)); });
  const Ellipsoid stomach{{0.50 * a.cavity_width, -0.18 * a.cavity_depth, floor_z + 4.0},
                          {40.0, 42.0, 34.0}};
  const auto inside = [&](Vec3 p) { return std::max(cavity(p) + 4.0, stomach.Distance(p)); };
  canvas.Paint(below, 40.0, inside);
  canvas.Paint(below, 15.0, [&](Vec3 p) { return inside(p) + 3.5; });
  // Gas rises to the front of a patient who lies on the back.
  const double level = stomach.centre.y - random.Uniform(-4.0, 16.0);
  canvas.Paint(below, -950.0, [&](Vec3 p) { return std::max(inside(p) + 3.5, p.y - level); });
}

void PaintLungs(const Anatomy& a, const Texture& texture, Canvas& canvas) {
  for (const Side side : kSides) {
    Box box = canvas.Everything();
    (side == Side::kRight ? box.high.x : box.low.x) = 0.0;
    canvas.PaintWith(
        box, [&](Vec3 p) { return a.Lung(side, p); }, 1.0,
        [&](Vec3 p) {
          const double gravity = 55.0 * (p.y + 20.0) / a.cavity_depth;
          const double peripheral = std::clamp(8.0 + a.Lung(side, p), 0.0, 8.0);
          return std::max(-980.0, a.lung_hu + gravity + 14.0 * texture.At(p) + 3.0 * peripheral);
        });
  }
}

void PaintHeartAndGreatVessels(const Anatomy& a, Canvas& canvas) {
  const double wall_hu = std::min(a.blood_hu, a.muscle_hu + 0.35 * (a.blood_hu - a.muscle_hu));
  // Fat around the heart, then muscle, then blood.
  Ellipsoid shape = a.heart;
  shape.radii = shape.radii + Vec3{5.0, 5.0, 5.0};
  const auto above = [&](Vec3 p) { return BelowDiaphragm(a, p); };
  canvas.Paint(shape.Bounds(), a.fat_hu + 10.0,
               [&](Vec3 p) { return std::max(shape.Distance(p), -above(p)); });
  canvas.Paint(a.heart.Bounds(), wall_hu,
               [&](Vec3 p) { return std::max(a.heart.Distance(p), -above(p)); });
  const Vec3 c = a.heart.centre;
  const Ellipsoid left_ventricle{
      c + Vec3{22.0, 4.0, -6.0}, {30.0, 17.0, 20.0}, a.heart.turn_z, 0.4};
  const Ellipsoid right_ventricle{
      c + Vec3{-2.0, -20.0, -6.0}, {34.0, 13.0, 24.0}, a.heart.turn_z, 0.3};
  const Ellipsoid left_atrium{c + Vec3{-8.0, 30.0, 16.0}, {30.0, 16.0, 20.0}};
  const Ellipsoid right_atrium{c + Vec3{-42.0, 2.0, 0.0}, {20.0, 22.0, 28.0}};
  for (const Ellipsoid& chamber : {left_ventricle, right_ventricle, left_atrium, right_atrium}) {
    canvas.Paint(chamber.Bounds(), a.blood_hu,
                 [&](Vec3 p) { return std::max(chamber.Distance(p), 4.0 - above(p)); });
  }
  // Oesophagus, between heart and spine.
  PaintTube({{6.0, a.Spine(a.apex_z).y - 26.0, 0.5 * a.height_mm},
             {4.0, a.Spine(a.carina_z).y - 27.0, a.carina_z},
             {10.0, a.Spine(a.right_dome_z).y - 32.0, a.right_dome_z - 20.0}},
            6.0, 35.0, canvas);
  PaintTube(a.Aorta(), 13.5, a.blood_hu, canvas);
  // Branches of the arch, superior and inferior vena cava.
  const double top = 0.5 * a.height_mm + 10.0;
  const double y = 0.5 * (a.heart.centre.y + a.spine_y);
  PaintTube({{-2.0, y - 6.0, a.arch_z}, {-18.0, y - 8.0, a.apex_z - 10.0}, {-30.0, y, top}}, 6.0,
            a.blood_hu, canvas);
  PaintTube({{8.0, y, a.arch_z}, {18.0, y, a.apex_z - 10.0}, {30.0, y + 4.0, top}}, 4.5, a.blood_hu,
            canvas);
  PaintTube(
      {{18.0, y + 10.0, a.arch_z}, {34.0, y + 12.0, a.apex_z - 5.0}, {70.0, y, a.apex_z + 12.0}},
      5.0, a.blood_hu, canvas);
  PaintTube({{-34.0, c.y + 6.0, c.z + 16.0},
             {-28.0, c.y + 12.0, a.carina_z},
             {-26.0, y - 14.0, a.apex_z - 24.0},
             {-40.0, y - 6.0, top}},
            9.0, a.blood_hu, canvas);
  PaintTube(
      {{-30.0, c.y + 18.0, c.z - 10.0}, {-26.0, 8.0, a.right_dome_z - 40.0}, {-24.0, 18.0, -top}},
      10.0, a.blood_hu, canvas);
  // Pulmonary trunk and its two arteries, under the arch.
  const Vec3 fork{10.0, c.y + 20.0, a.carina_z - 12.0};
  PaintTube({c + Vec3{14.0, -16.0, 30.0}, fork}, 13.0, a.blood_hu, canvas);
  PaintTube({fork, {-14.0, c.y + 32.0, a.carina_z - 16.0}, a.Hilum(Side::kRight)}, 10.0, a.blood_hu,
            canvas);
  PaintTube({fork, a.Hilum(Side::kLeft)}, 10.0, a.blood_hu, canvas);
}

void PaintAirways(const Anatomy& a, Canvas& canvas) {
  const Vec3 top{0.0, a.Spine(a.apex_z).y - 44.0, 0.5 * a.height_mm + 10.0};
  const Vec3 carina{0.0, a.Spine(a.carina_z).y - 44.0, a.carina_z};
  const std::vector<Vec3> trachea{top, {1.0, top.y + 2.0, a.apex_z - 20.0}, carina};
  const std::vector<Vec3> right{carina, a.Hilum(Side::kRight)};
  const std::vector<Vec3> left{carina, a.Hilum(Side::kLeft) + Vec3{0.0, 2.0, -6.0}};
  PaintTube(trachea, 11.0, 30.0, canvas);
  PaintTube(right, 8.5, 30.0, canvas);
  PaintTube(left, 7.5, 30.0, canvas);
  PaintTube(trachea, 8.8, -985.0, canvas);
  PaintTube(right, 6.6, -980.0, canvas);
  PaintTube(left, 5.6, -980.0, canvas);
}

}  // namespace synthvol::imaging::phantom
