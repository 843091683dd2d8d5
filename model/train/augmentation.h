// Random changes of training volumes: mirrored, moved, with another contrast. Pure functions.
#ifndef SYNTHVOL_MODEL_TRAIN_AUGMENTATION_H_
#define SYNTHVOL_MODEL_TRAIN_AUGMENTATION_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "model/train/random_stream.h"
#include "model/train/train_config.h"

namespace synthvol::model {

// What one volume at one place of the data's order is changed by.
struct DrawnAugmentation {
  bool flip = false;
  std::array<int64_t, 3> shift{};  // voxels along z, y, x
  float gain = 1.0F;
  float offset = 0.0F;
  bool any = false;
};

// Draws from the stream of sample `index`; nothing where `augmentation` asks for nothing.
DrawnAugmentation DrawAugmentation(const Augmentation& augmentation, uint64_t seed, uint64_t index);

// Writes slices first..last-1 of a volume [n,n,n] of int16 units to `out` [last-first,n,n] on
// [-1, 1]. Edges are repeated where a shift leaves the volume.
void AugmentSlices(absl::Span<const int16_t> volume, int64_t n, const DrawnAugmentation& drawn,
                   int64_t first, int64_t last, float* out);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_AUGMENTATION_H_
