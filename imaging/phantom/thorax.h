// Paints a patient's organs, from the outside in.
//
// Free functions; each paints over what is on the canvas, so the order in phantom.cc matters.
#ifndef SYNTHVOL_IMAGING_PHANTOM_THORAX_H_
#define SYNTHVOL_IMAGING_PHANTOM_THORAX_H_

#include <cstdint>
#include <vector>

#include "imaging/phantom.h"
#include "imaging/phantom/anatomy.h"
#include "imaging/phantom/canvas.h"
#include "imaging/phantom/random.h"

namespace synthvol::imaging::phantom {

// Smooth random field of about unit amplitude, whose features are `scale` millimetres wide.
class Texture {
 public:
  Texture(uint64_t seed, double scale) : seed_(seed), scale_(scale) {}
  double At(Vec3 p) const;

 private:
  double Lattice(int64_t x, int64_t y, int64_t z) const;

  uint64_t seed_;
  double scale_;
};

// Skin, fat, muscle, breasts, the fat of the mediastinum.
void PaintTrunk(const Anatomy& anatomy, const Texture& texture, Canvas& canvas);
// Liver, stomach with its bubble of gas, spleen, fat between them; below the diaphragm.
void PaintAbdomen(const Anatomy& anatomy, Random& random, Canvas& canvas);
// Both lungs, denser towards the back as in a patient who lies on it.
void PaintLungs(const Anatomy& anatomy, const Texture& texture, Canvas& canvas);
// Heart with its chambers, aorta, vena cava, pulmonary trunk and arteries, oesophagus.
void PaintHeartAndGreatVessels(const Anatomy& anatomy, Canvas& canvas);
// Windpipe and main bronchi.
void PaintAirways(const Anatomy& anatomy, Canvas& canvas);
// Vertebrae, ribs with their cartilage, breastbone, collar bones, shoulder blades.
void PaintSkeleton(const Anatomy& anatomy, Canvas& canvas);
// The arteries, veins and small bronchi of both lungs, branching by Murray's law.
void PaintLungTrees(const Anatomy& anatomy, Random& random, Canvas& canvas);
// One to three nodules wholly inside the lungs.
std::vector<Nodule> PaintNodules(const Anatomy& anatomy, Random& random, Canvas& canvas);

}  // namespace synthvol::imaging::phantom

#endif  // SYNTHVOL_IMAGING_PHANTOM_THORAX_H_
