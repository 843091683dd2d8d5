// Pulmonary arteries, veins and bronchi, and nodules among them.
#include <numbers>

#include "imaging/phantom/thorax.h"

namespace synthvol::imaging::phantom {
namespace {

constexpr double kThinnestMm = 0.55;
constexpr int kGenerations = 13;

struct Tree {
  double lumen_hu;
  // Bronchi have a wall and end early; vessels are filled.
  bool airway;
};

Vec3 RandomDirection(Random& random) {
  const double z = random.Uniform(-1.0, 1.0);
  const double angle = random.Uniform(0.0, 2.0 * std::numbers::pi);
  const double r = std::sqrt(1.0 - z * z);
  return {r * std::cos(angle), r * std::sin(angle), z};
}

class Grower {
 public:
  Grower(const Anatomy& anatomy, Side side, Tree tree, Random& random, Canvas& canvas)
      : anatomy_(anatomy), side_(side), tree_(tree), random_(random), canvas_(canvas) {}

  // Grows a branch from `from` and everything beyond it.
  void Grow(Vec3 from, Vec3 direction, double radius, int generation) {
    if (generation >= kGenerations || radius < kThinnestMm) return;
    const double length = radius * random_.Uniform(3.2, 5.2) + 3.5;
    const Vec3 to = from + length * direction;
    // The first branches start in the hilum, outside the lung proper.
    if (generation > 1 && anatomy_.Lung(side_, to) > -1.5) return;
    const double thinner = 0.93 * radius;
    Draw({from, to, radius, thinner});
    // Murray: r^3 = r1^3 + r2^3, split unevenly.
    const double share = random_.Uniform(0.28, 0.5);
    const double major = thinner * std::cbrt(1.0 - share);
    const double minor = thinner * std::cbrt(share);
    const Vec3 axis = Unit(Cross(direction, RandomDirection(random_)));
    const double spread = random_.Uniform(0.55, 0.95);
    // The thinner child leaves at the larger angle.
    Grow(to, Steer(to, Turn(direction, axis, spread * share)), major, generation + 1);
    Grow(to, Steer(to, Turn(direction, axis, -spread * (1.0 - share) * 1.3)), minor,
         generation + 1);
  }

 private:
  static Vec3 Turn(Vec3 direction, Vec3 axis, double angle) {
    return Unit(std::cos(angle) * direction + std::sin(angle) * Cross(axis, direction));
  }

  // Bends away from the lung's surface, towards where there is room.
  Vec3 Steer(Vec3 at, Vec3 direction) {
    constexpr double kStep = 2.0;
    const auto lung = [&](Vec3 p) { return anatomy_.Lung(side_, p); };
    const double here = lung(at);
    const Vec3 inward{here - lung(at + Vec3{kStep, 0, 0}), here - lung(at + Vec3{0, kStep, 0}),
                      here - lung(at + Vec3{0, 0, kStep})};
    const double push = std::clamp(1.0 + here / 14.0, 0.0, 1.0);
    return Unit(direction + 0.55 * push * Unit(inward) + 0.18 * RandomDirection(random_));
  }

  void Draw(const Capsule& branch) {
    if (!tree_.airway) {
      canvas_.Paint(branch, tree_.lumen_hu);
      return;
    }
    Capsule wall = branch;
    wall.from_radius += 1.0;
    wall.to_radius += 1.0;
    canvas_.Paint(wall, -150.0);
    canvas_.Paint(branch, tree_.lumen_hu);
  }

  const Anatomy& anatomy_;
  const Side side_;
  const Tree tree_;
  Random& random_;
  Canvas& canvas_;
};

// Main directions of a lung's lobes, seen from the hilum; x counts outwards.
constexpr std::array<Vec3, 7> kLobes{Vec3{0.45, 0.10, 0.95},  Vec3{0.75, -0.55, 0.40},
                                     Vec3{0.70, 0.60, 0.35},  Vec3{0.80, -0.55, -0.35},
                                     Vec3{0.85, 0.25, -0.40}, Vec3{0.45, 0.45, -0.95},
                                     Vec3{0.60, -0.05, -0.90}};

void GrowTree(const Anatomy& a, Side side, Tree tree, double radius, Vec3 offset, Random& random,
              Canvas& canvas) {
  Grower grower(a, side, tree, random, canvas);
  const Vec3 root = a.Hilum(side) + offset;
  for (const Vec3& lobe : kLobes) {
    const Vec3 direction =
        Unit(Vec3{Sign(side) * lobe.x, lobe.y, lobe.z} + 0.22 * RandomDirection(random));
    grower.Grow(root, direction, radius * random.Uniform(0.85, 1.1), 0);
  }
}

}  // namespace

void PaintLungTrees(const Anatomy& a, Random& random, Canvas& canvas) {
  const double vessel_hu = std::max(30.0, 0.8 * a.blood_hu);
  for (const Side side : kSides) {
    GrowTree(a, side, {-960.0, true}, 2.9, {0.0, 2.0, 0.0}, random, canvas);
    GrowTree(a, side, {vessel_hu, false}, 4.6, {0.0, -3.0, 3.0}, random, canvas);
    GrowTree(a, side, {vessel_hu, false}, 4.0, {-3.0 * Sign(side), -2.0, -14.0}, random, canvas);
  }
}

std::vector<Nodule> PaintNodules(const Anatomy& a, Random& random, Canvas& canvas) {
  // Not so small that the coarsest picture loses them.
  const double smallest = std::max(4.0, 0.8 * canvas.voxel_mm());
  const auto count = static_cast<size_t>(random.Uniform(1.0, 4.0));
  std::vector<Nodule> nodules;
  while (nodules.size() < count) {
    const double radius = smallest + random.Uniform() * random.Uniform() * 14.0;
    const Side side = random.Chance(0.5) ? Side::kLeft : Side::kRight;
    const Vec3 centre{Sign(side) * random.Uniform(20.0, a.cavity_width),
                      random.Uniform(-a.cavity_depth, a.cavity_depth),
                      random.Uniform(a.left_dome_z - 40.0, a.apex_z)};
    if (a.Lung(side, centre) > -(1.25 * radius + 2.0)) continue;
    nodules.push_back({{centre.x, centre.y, centre.z}, radius});
    const double hu = random.Uniform(10.0, 90.0);
    const Texture lobes(Mix(static_cast<uint64_t>(random.Uniform() * 0x1.0p53)), 0.9 * radius);
    canvas.Paint(Around(centre, {1.3 * radius, 1.3 * radius, 1.3 * radius}), hu,
                 [&](Vec3 p) { return Norm(p - centre) - radius * (1.0 + 0.12 * lobes.At(p)); });
  }
  return nodules;
}

}  // namespace synthvol::imaging::phantom
