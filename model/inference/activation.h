// Feature maps between layers, and how they are read: GroupNorm's scale and shift are applied where
// the next layer reads, so a feature map is written once and read once.
#ifndef SYNTHVOL_MODEL_INFERENCE_ACTIVATION_H_
#define SYNTHVOL_MODEL_INFERENCE_ACTIVATION_H_

#include <cstdint>

namespace synthvol::model {

// [z][y][x][channels], before GroupNorm. Of the `size` planes only the last `planes` that were
// written are kept (all of them, when planes == size). Does not own its memory.
struct Activation {
  float* data = nullptr;
  int64_t size = 0;
  int64_t channels = 0;
  int64_t planes = 0;

  int64_t row_stride() const { return size * channels; }
  int64_t plane_stride() const { return size * row_stride(); }
  float* Plane(int64_t z) const { return data + (z % planes) * plane_stride(); }
};

// relu(x * scale + shift), [channels] each; none (null) for fc1's output, which is taken as it is.
struct Normalisation {
  const float* scale = nullptr;
  const float* shift = nullptr;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_ACTIVATION_H_
