// The device's own kernels beside cuDNN's convolutions. Raw pointers, sizes and a stream: neither
// torch nor any other library shows here. Each is compared with a plain loop on the CPU in
// tests/model_inference/device_kernels_test.cc, which needs a GPU.
//
// Launches are asynchronous on `stream`; they return the launch's error. All sums are in a fixed
// order: the same inputs give the same bytes on one kind of device.
#ifndef SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_KERNELS_H_
#define SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_KERNELS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace synthvol::model {

enum class Element { kFloat, kBf16 };

// How a convolution left its output.
// Plain: [size^3][channels].
// Phases (after an upsampling, docs/inference.md): [(size/2 + 1)^3][8 phases][channels]; output
// voxel (z, y, x) lies at position (z+1)/2, (y+1)/2, (x+1)/2 in phase 4 (z%2) + 2 (y%2) + x%2.
struct ConvolutionOutput {
  const void* data;
  Element element;
  bool phases;
  // Voxels a side of the output.
  int64_t size;
  int64_t channels;
  // [channels], added to every value read; convolutions run without their bias.
  const float* bias;
};

// Groups of GroupNorm.
inline constexpr int kDeviceGroups = 8;

// out[voxel][channel] of [64][channels] = rows[channel * 64 + voxel] . inputs + bias.
// rows [channels * 64][count] float; one warp a row.
cudaError_t LaunchLinear(const float* rows, const float* bias, const float* inputs, int64_t count,
                         int64_t channels, Element element, void* out, cudaStream_t stream);

// Doubles of scratch for LaunchGroupNormFactors.
int64_t GroupSumDoubles(int64_t size, int64_t channels);
// GroupNorm's statistics over the whole volume and from them scale and shift [channels]:
// scale = gamma / sqrt(var + eps), shift = beta + (bias - mean) * scale. `bias` of `in` is part of
// the statistics, and of the shift, so that normalising reads the raw values.
// status[0] is set to 1 when a statistic is not finite.
cudaError_t LaunchGroupNormFactors(const ConvolutionOutput& in, const float* gamma,
                                   const float* beta, double epsilon, double* sums, float* scale,
                                   float* shift, int* status, cudaStream_t stream);

// out [size^3][channels] = max(in * scale + shift, 0), phases put in their places.
cudaError_t LaunchNormalise(const ConvolutionOutput& in, const float* scale, const float* shift,
                            void* out, cudaStream_t stream);

// The last layer's end for slices first..first+count-1 of `in` (one channel, its bias in in.bias):
// tanh, and for `stored` the window as imaging::Window::ToStored. One of the outputs is not null;
// they begin at slice `first`.
cudaError_t LaunchFinish(const ConvolutionOutput& in, int64_t first, int64_t count,
                         float half_range, float centre, float* unit, int16_t* stored,
                         cudaStream_t stream);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_DEVICE_KERNELS_H_
