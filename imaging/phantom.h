// A randomised chest CT drawn from a seed: body, lungs, spine, ribs, heart, great vessels, airways,
// the pulmonary vessel tree, upper abdomen, noise and, in one of two classes, lung nodules. It is
// what the product trains on where there are no scans, and a truth to test against.
//
// Pure functions: the same options give the same voxels on the same build.
#ifndef SYNTHVOL_IMAGING_PHANTOM_H_
#define SYNTHVOL_IMAGING_PHANTOM_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

inline constexpr int64_t kMinPhantomSize = 16;
inline constexpr int64_t kMaxPhantomSize = 512;

// Classes of phantoms, as labels count them.
enum class PhantomClass : int64_t { kNoNodule = 0, kNodule = 1 };

// Returns "no-nodule" or "nodule".
const char* ToString(PhantomClass phantom_class);

struct PhantomOptions {
  // Voxels a side.
  int64_t size = 64;
  uint64_t seed = 0;
  // The class; without one, odd seeds have nodules, so that a run of seeds is balanced.
  std::optional<PhantomClass> phantom_class;
};

struct Nodule {
  // LPS millimetres.
  std::array<double, 3> centre{};
  double radius_mm = 0.0;
};

struct Phantom {
  // HU, axial; between -1024 and 3071.
  Volume volume;
  PhantomClass phantom_class = PhantomClass::kNoNodule;
  // One to three for kNodule, wholly inside a lung; none otherwise.
  std::vector<Nodule> nodules;
};

// Draws a phantom. INVALID_ARGUMENT when the size is not in kMinPhantomSize..kMaxPhantomSize.
absl::StatusOr<Phantom> MakePhantom(const PhantomOptions& options);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_PHANTOM_H_
