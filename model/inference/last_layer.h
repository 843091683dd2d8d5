// The last layer on the CPU: nearest x2, k3 p1 to one channel, tanh, and on request the window and
// int16, slab by slab (docs/inference.md).
#ifndef SYNTHVOL_MODEL_INFERENCE_LAST_LAYER_H_
#define SYNTHVOL_MODEL_INFERENCE_LAST_LAYER_H_

#include <cstdint>

#include "model/inference/activation.h"
#include "model/inference/convolution.h"
#include "model/inference/packed_weights.h"
#include "model/kernels/kernels.h"

namespace synthvol::model {

struct LastLayerCall {
  const Kernels* kernels = nullptr;
  const PackedLastLayer* layer = nullptr;
  Activation in;
  Normalisation normalisation;
  // One of them takes the slices 2 * z_begin .. 2 * z_end - 1, [slices][2 size][2 size].
  float* unit = nullptr;
  int16_t* stored = nullptr;
  StoredScale scale{};
};

// Floats of scratch that a piece needs.
int64_t LastLayerScratchFloats(int64_t in_size, int64_t in_channels);

// Renders the input planes z_begin..z_end-1; the planes beside them must be there too.
void RunLastLayer(const LastLayerCall& call, int64_t z_begin, int64_t z_end, Parallel parallel);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_LAST_LAYER_H_
