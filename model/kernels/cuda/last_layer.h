// The generator's last layer on a GPU: nearest upsampling by two, one convolution to one channel,
// tanh, and for stored values the window, in one kernel. Raw device pointers; knows no torch.
#ifndef SYNTHVOL_MODEL_KERNELS_CUDA_LAST_LAYER_H_
#define SYNTHVOL_MODEL_KERNELS_CUDA_LAST_LAYER_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/kernels/cuda/element.h"

namespace synthvol::model {

struct LastLayerInput {
  const void* map;       // [n,n,n,C], normalised
  Element element;       // of the map
  const float* weights;  // [8 positions][C][8 phases]: the folded kernel (docs/inference.md)
  const float* bias;     // [1]
  int size;              // n
  int channels;          // C, a multiple of 8
};

// Where the voxels go: `unit`, or, if that is null, `stored`, as imaging::Window::ToStored does.
struct LastLayerOutput {
  float* unit;      // [2n,2n,2n]
  int16_t* stored;  // the same
  float half_range;
  float centre;
};

// Renders planes first..first+count-1 of the n+1 positions along depth. Plane p makes the slices
// 2p-1 and 2p, those of them that exist. Asynchronous; returns the launch's error; float32 sums in
// a fixed order.
cudaError_t LaunchLastLayer(const LastLayerInput& in, int first, int count,
                            const LastLayerOutput& out, cudaStream_t stream);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_CUDA_LAST_LAYER_H_
