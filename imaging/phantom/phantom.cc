#include "imaging/phantom.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "imaging/phantom/anatomy.h"
#include "imaging/phantom/canvas.h"
#include "imaging/phantom/random.h"
#include "imaging/phantom/thorax.h"

namespace synthvol::imaging {
namespace {

using phantom::Anatomy;
using phantom::Canvas;
using phantom::Random;
using phantom::Texture;

// Streams of a seed: a part that draws more or fewer numbers does not change the others.
enum Stream : uint64_t { kAnatomy, kAbdomen, kTrees, kNodules, kNoise, kTexture };

constexpr double kLowestHu = -1024.0;
constexpr double kHighestHu = 3071.0;

Geometry GeometryOf(const Anatomy& anatomy, int64_t size) {
  const auto n = static_cast<double>(size);
  return CentredCube(size, {anatomy.field_mm / n, anatomy.field_mm / n, anatomy.height_mm / n});
}

// Adds noise that is a little correlated along a row, as a reconstruction kernel leaves it, and
// rounds.
Volume Finish(const FloatVolume& image, double noise_hu, Random& random) {
  // 1/sqrt(0.6^2 + 0.8^2) = 1: the mixture keeps the deviation.
  constexpr double kOwn = 0.8;
  constexpr double kPrevious = 0.6;
  Volume volume{image.geometry, std::vector<int16_t>(image.voxels.size())};
  double previous = random.Normal();
  for (size_t i = 0; i < image.voxels.size(); ++i) {
    const double fresh = random.Normal();
    const double noise = noise_hu * (kOwn * fresh + kPrevious * previous);
    previous = fresh;
    const double hu =
        std::clamp(static_cast<double>(image.voxels[i]) + noise, kLowestHu, kHighestHu);
    volume.voxels[i] = static_cast<int16_t>(std::lround(hu));
  }
  return volume;
}

}  // namespace

const char* ToString(PhantomClass phantom_class) {
  return phantom_class == PhantomClass::kNodule ? "nodule" : "no-nodule";
}

absl::StatusOr<Phantom> MakePhantom(const PhantomOptions& options) {
  if (options.size < kMinPhantomSize || options.size > kMaxPhantomSize) {
    return absl::InvalidArgumentError(absl::StrCat("phantom size ", options.size, "; expected ",
                                                   kMinPhantomSize, "..", kMaxPhantomSize));
  }
  const auto stream = [&](Stream which) { return Random(options.seed, which); };
  Random anatomy_random = stream(kAnatomy);
  const Anatomy anatomy(anatomy_random);
  const Texture texture(phantom::Mix(options.seed ^ kTexture), 22.0);
  Canvas canvas(GeometryOf(anatomy, options.size));
  Random abdomen = stream(kAbdomen);
  Random trees = stream(kTrees);
  Random nodules = stream(kNodules);
  Random noise = stream(kNoise);

  PaintTrunk(anatomy, texture, canvas);
  PaintAbdomen(anatomy, abdomen, canvas);
  PaintLungs(anatomy, texture, canvas);
  PaintHeartAndGreatVessels(anatomy, canvas);
  PaintAirways(anatomy, canvas);
  PaintLungTrees(anatomy, trees, canvas);
  PaintSkeleton(anatomy, canvas);

  Phantom result;
  result.phantom_class = options.phantom_class.value_or(
      options.seed % 2 == 1 ? PhantomClass::kNodule : PhantomClass::kNoNodule);
  if (result.phantom_class == PhantomClass::kNodule) {
    result.nodules = PaintNodules(anatomy, nodules, canvas);
  }
  result.volume = Finish(canvas.image(), anatomy.noise_hu, noise);
  return result;
}

}  // namespace synthvol::imaging
