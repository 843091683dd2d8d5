// GroupNorm with ReLU, and tanh, forward and back, over channels-last maps and over the phases that
// a folded convolution leaves (docs/inference.md): at position (z,y,x) and phase (a*2+b)*2+c lies
// voxel (2z-a, 2y-b, 2x-c). Raw device pointers, sizes and a stream; knows no torch.
//
// Each launches on `stream` and returns the launch's error. Sums are taken in a fixed order: the
// same bits every time.
#ifndef SYNTHVOL_MODEL_KERNELS_CUDA_NORM_RELU_H_
#define SYNTHVOL_MODEL_KERNELS_CUDA_NORM_RELU_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/kernels/cuda/element.h"

namespace synthvol::model {

// Groups of every GroupNorm: one a warp of a block.
inline constexpr int kDeviceGroups = 8;

// A convolution's output and the norm that follows.
struct NormReluMap {
  const void* data;  // [N,D,H,W,C], or phases [N,D/2+1,H/2+1,W/2+1,8,C]
  Element element;
  bool phases;
  int samples;   // N
  int channels;  // C, a multiple of kDeviceGroups
  int depth;     // D, H, W: of the map
  int height;
  int width;
  const float* shift;  // [C] each
  const float* gamma;
  const float* beta;
};

// Numbers of scratch for the sums below, doubles.
int64_t NormReluScratch(const NormReluMap& map);

// Sums of a map's values and squares: sums [N,2,C]. `status`, if not null, becomes 1 when one of
// them is not finite.
cudaError_t LaunchNormReluSums(const NormReluMap& map, double* scratch, double* sums, int* status,
                               cudaStream_t stream);
// out [N,D,H,W,C] of the map's element type; may be map.data unless phases.
cudaError_t LaunchNormRelu(const NormReluMap& map, const double* sums, void* out,
                           cudaStream_t stream);

// Gradient [N,D,H,W,C] of the output. back_sums [N,3,C]: of the gradient before ReLU, of its
// product with the normalised value, and of the normalised value.
cudaError_t LaunchNormReluBackSums(const NormReluMap& map, const double* sums, const void* gradient,
                                   double* scratch, double* back_sums, cudaStream_t stream);
// out as map.data; d_shift, d_gamma, d_beta [C].
cudaError_t LaunchNormReluBack(const NormReluMap& map, const double* sums, const double* back_sums,
                               const void* gradient, void* out, float* d_shift, float* d_gamma,
                               float* d_beta, cudaStream_t stream);

// One-channel phases [N,D/2+1,H/2+1,W/2+1,8] and their map [N,D,H,W].
struct TanhMap {
  Element element;
  int samples;
  int depth;
  int height;
  int width;
};
cudaError_t LaunchTanhPhases(const TanhMap& map, const void* phases, const float* shift, void* out,
                             cudaStream_t stream);
cudaError_t LaunchTanhPhasesBack(const TanhMap& map, const void* output, const void* gradient,
                                 void* phases, cudaStream_t stream);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_CUDA_NORM_RELU_H_
