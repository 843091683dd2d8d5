// Vertebrae, ribs, breastbone, collar bones, shoulder blades.
#include <numbers>

#include "imaging/phantom/thorax.h"

namespace synthvol::imaging::phantom {
namespace {

constexpr int kRibPairs = 12;
constexpr int kRibSegments = 28;

// One vertebra around `body`, the middle of its body.
void PaintVertebra(const Anatomy& a, Vec3 body, Canvas& canvas) {
  const double r = a.spine_radius;
  const double half = 0.5 * a.vertebra_mm - 2.2;
  const auto cylinder = [&](Vec3 p, double radius, double half_height) {
    // Waisted, and flat at the back, where the canal is.
    const double waist = 1.6 * (1.0 - std::abs(p.z - body.z) / half);
    const double round = std::hypot(p.x - body.x, 1.18 * (p.y - body.y)) - radius + waist;
    return std::max({round, std::abs(p.z - body.z) - half_height, p.y - body.y - 0.72 * radius});
  };
  const double shell_hu = 480.0 * a.bone_factor;
  const double marrow_hu = 175.0 * a.bone_factor;
  const Box box = Around(body, {r + 2.0, r + 2.0, half + 2.0});
  canvas.Paint(box, shell_hu, [&](Vec3 p) { return cylinder(p, r, half); });
  canvas.Paint(box, marrow_hu, [&](Vec3 p) { return cylinder(p, r - 2.0, half - 1.5); });
  // The arch: two laminae around the canal, spinous and transverse processes.
  const double canal_y = body.y + 0.72 * r + 8.0;
  const double arch_hu = 400.0 * a.bone_factor;
  const Vec3 roof{0.0, canal_y + 11.0, body.z - 2.0};
  canvas.Paint(Capsule{roof, {0.0, roof.y + 14.0, body.z - 16.0}, 4.0, 3.2}, arch_hu);
  for (const Side side : kSides) {
    const Vec3 pedicle{Sign(side) * 11.5, canal_y - 2.0, body.z + 2.0};
    canvas.Paint(Capsule{{Sign(side) * 10.0, body.y + 0.5 * r, body.z + 3.0}, pedicle, 4.0, 4.0},
                 arch_hu);
    canvas.Paint(Capsule{pedicle, roof, 4.0, 3.6}, arch_hu);
    canvas.Paint(Capsule{pedicle, {Sign(side) * 32.0, canal_y + 9.0, body.z + 3.0}, 4.4, 4.0},
                 arch_hu);
  }
}

// Rib `k`, counted from 0 at the top: from the spine round to its cartilage.
void PaintRib(const Anatomy& a, Side side, int k, double start_z, Canvas& canvas) {
  // The upper ribs slope least; the last two end in the flank.
  const double drop = 34.0 + 7.0 * std::min(k, 7);
  const double end = k >= 10 ? 0.62 - 0.12 * (k - 10) : (k == 0 ? 0.86 : 0.80);
  const double cartilage_end = k >= 10 ? end : (k <= 6 ? 0.99 : 0.93);
  const auto course = [&](double around) {
    const double fall = 0.5 - 0.5 * std::cos(std::numbers::pi * std::min(1.0, around / 0.85));
    const double rise = k >= 1 ? 26.0 * std::max(0.0, around - 0.82) / 0.17 : 0.0;
    const double z = start_z - drop * fall + rise;
    return a.OnChestWall(side, 0.10 + 0.90 * around, z, 3.5);
  };
  const double r = k == 0 ? 4.0 : 4.8;
  for (int i = 0; i < kRibSegments; ++i) {
    const double t0 = cartilage_end * i / kRibSegments;
    const double t1 = cartilage_end * (i + 1) / kRibSegments;
    const bool bone = t1 <= end;
    const Capsule outer{course(t0), course(t1), r, r};
    canvas.Paint(outer, bone ? 620.0 * a.bone_factor : 95.0);
    if (!bone) continue;
    const Capsule marrow{outer.from, outer.to, r - 2.0, r - 2.0};
    canvas.Paint(marrow, 190.0 * a.bone_factor);
  }
}

void PaintSternum(const Anatomy& a, Canvas& canvas) {
  const auto front = [&](double z) { return a.OnChestWall(Side::kLeft, 1.0, z, 5.0).y; };
  const double top = a.apex_z - 48.0;
  const double bottom = a.right_dome_z + 42.0;
  constexpr int kPieces = 14;
  for (int i = 0; i < kPieces; ++i) {
    const double z = bottom + (top - bottom) * i / (kPieces - 1);
    const double width = i >= kPieces - 4 ? 25.0 : 15.0;
    const Ellipsoid piece{{0.0, front(z) - 1.0, z}, {width, 6.5, 9.0}};
    canvas.Paint(piece, 260.0 * a.bone_factor);
  }
  for (const Side side : kSides) {
    const double s = Sign(side);
    const Vec3 inner{s * 20.0, front(top) - 1.0, top + 10.0};
    const Vec3 middle{s * 62.0, front(top) + 2.0, a.apex_z - 14.0};
    const Vec3 outer{s * 128.0, 8.0, a.apex_z + 8.0};
    canvas.Paint(Capsule{inner, middle, 6.5, 5.5}, 430.0 * a.bone_factor);
    canvas.Paint(Capsule{middle, outer, 5.5, 6.5}, 430.0 * a.bone_factor);
  }
}

void PaintShoulderBlades(const Anatomy& a, Canvas& canvas) {
  for (const Side side : kSides) {
    const double s = Sign(side);
    const Ellipsoid blade{
        {s * (0.70 * a.cavity_width), 0.80 * a.cavity_depth + 9.0, a.apex_z - 52.0},
        {44.0, 3.6, 62.0},
        -s * 0.55};
    canvas.Paint(blade, 380.0 * a.bone_factor);
    const Vec3 root{s * 0.52 * a.cavity_width, 0.98 * a.cavity_depth + 10.0, a.apex_z - 24.0};
    const Vec3 tip{s * 1.02 * a.cavity_width, 0.42 * a.cavity_depth, a.apex_z + 2.0};
    canvas.Paint(Capsule{root, tip, 4.0, 8.0}, 380.0 * a.bone_factor);
  }
}

}  // namespace

void PaintSkeleton(const Anatomy& a, Canvas& canvas) {
  const double top = 0.5 * a.height_mm + a.vertebra_mm;
  // Muscles beside the spine, discs between the vertebrae, marrow in the canal.
  for (const Side side : kSides) {
    for (double z = -top; z < top; z += 12.0) {
      const Vec3 s = a.Spine(z);
      canvas.Paint(Ellipsoid{{Sign(side) * 24.0, s.y + 34.0, z}, {19.0, 16.0, 14.0}}, a.muscle_hu);
    }
  }
  for (double z = -top; z < top; z += 4.0) {
    const Vec3 from = a.Spine(z);
    const Vec3 to = a.Spine(z + 4.0);
    const Vec3 back{0.0, 0.72 * a.spine_radius + 8.0, 0.0};
    canvas.Paint(Capsule{from, to, a.spine_radius - 1.5, a.spine_radius - 1.5}, 85.0);
    canvas.Paint(Capsule{from + back, to + back, 9.0, 9.0}, 10.0);
    canvas.Paint(Capsule{from + back, to + back, 5.0, 5.0}, 38.0);
  }
  for (double z = top; z > -top; z -= a.vertebra_mm) PaintVertebra(a, a.Spine(z), canvas);
  // The first rib springs from near the top of the lungs.
  const double first_z = a.apex_z - 2.0;
  for (int k = 0; k < kRibPairs; ++k) {
    for (const Side side : kSides) {
      PaintRib(a, side, k, first_z - k * a.vertebra_mm, canvas);
    }
  }
  PaintSternum(a, canvas);
  PaintShoulderBlades(a, canvas);
}

}  // namespace synthvol::imaging::phantom
