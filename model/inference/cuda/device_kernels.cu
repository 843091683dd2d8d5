#include <cuda_bf16.h>

#include "model/inference/cuda/device_kernels.h"

namespace synthvol::model {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
// Voxels that a block of the statistics sums.
constexpr int64_t kSumVoxels = 2048;
// Channels that a block of the statistics takes, one a thread.
constexpr int64_t kSumChannels = 256;

__device__ float ToFloat(float value) { return value; }
__device__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ void Assign(float* to, float value) { *to = value; }
__device__ void Assign(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }

// Where channel 0 of output voxel (z, y, x) lies.
__device__ int64_t Place(const ConvolutionOutput& in, int64_t z, int64_t y, int64_t x) {
  if (!in.phases) return ((z * in.size + y) * in.size + x) * in.channels;
  const int64_t extent = in.size / 2 + 1;
  const int64_t position = (((z + 1) / 2 * extent) + (y + 1) / 2) * extent + (x + 1) / 2;
  const int64_t phase = z % 2 * 4 + y % 2 * 2 + x % 2;
  return (position * 8 + phase) * in.channels;
}

__device__ int64_t PlaceOfVoxel(const ConvolutionOutput& in, int64_t voxel) {
  return Place(in, voxel / (in.size * in.size), voxel / in.size % in.size, voxel % in.size);
}

template <typename T>
__global__ void Linear(const float* rows, const float* bias, const float* inputs, int64_t count,
                       int64_t channels, T* out) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (row >= channels * 64) return;
  const int lane = threadIdx.x % kWarp;
  float sum = 0.0F;
  for (int64_t i = lane; i < count; i += kWarp) sum = fmaf(rows[row * count + i], inputs[i], sum);
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, offset);
  }
  if (lane == 0) Assign(out + row % 64 * channels + row / 64, sum + bias[row]);
}

// Sums of a run of voxels: a block takes kSumVoxels voxels and up to kSumChannels channels; several
// voxels are read at once where channels are few. sums [voxel run][channel run][group][2].
template <typename T>
__global__ void GroupSums(ConvolutionOutput in, double* sums) {
  const int64_t first_channel = static_cast<int64_t>(blockIdx.y) * kSumChannels;
  const int64_t channels = min(kSumChannels, in.channels - first_channel);
  const int64_t lanes = kThreads / channels;
  const int64_t channel = first_channel + threadIdx.x % channels;
  const int64_t lane = threadIdx.x / channels;
  const int64_t voxels = in.size * in.size * in.size;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kSumVoxels;
  const int64_t end = min(begin + kSumVoxels, voxels);
  __shared__ double sum[kThreads];
  __shared__ double squares[kThreads];
  double my_sum = 0.0;
  double my_squares = 0.0;
  if (lane < lanes) {
    const T* data = static_cast<const T*>(in.data);
    const float bias = in.bias[channel];
    for (int64_t voxel = begin + lane; voxel < end; voxel += lanes) {
      const double value = ToFloat(data[PlaceOfVoxel(in, voxel) + channel]) + bias;
      my_sum += value;
      my_squares += value * value;
    }
  }
  sum[threadIdx.x] = my_sum;
  squares[threadIdx.x] = my_squares;
  __syncthreads();
  // One thread a group adds its channels in order.
  if (threadIdx.x >= kDeviceGroups) return;
  const int64_t per_group = in.channels / kDeviceGroups;
  double group_sum = 0.0;
  double group_squares = 0.0;
  for (int64_t i = 0; i < lanes * channels; ++i) {
    if ((first_channel + i % channels) / per_group != threadIdx.x) continue;
    group_sum += sum[i];
    group_squares += squares[i];
  }
  double* to = sums + ((static_cast<int64_t>(blockIdx.x) * gridDim.y + blockIdx.y) * kDeviceGroups +
                       threadIdx.x) *
                          2;
  to[0] = group_sum;
  to[1] = group_squares;
}

// One block a group: adds the runs in a fixed tree, then writes the factors of the group's
// channels.
__global__ void Factors(const double* sums, int64_t runs, int64_t size, int64_t channels,
                        const float* bias, const float* gamma, const float* beta, double epsilon,
                        float* scale, float* shift, int* status) {
  const int group = blockIdx.x;
  __shared__ double sum[kThreads];
  __shared__ double squares[kThreads];
  double my_sum = 0.0;
  double my_squares = 0.0;
  for (int64_t run = threadIdx.x; run < runs; run += kThreads) {
    my_sum += sums[(run * kDeviceGroups + group) * 2];
    my_squares += sums[(run * kDeviceGroups + group) * 2 + 1];
  }
  sum[threadIdx.x] = my_sum;
  squares[threadIdx.x] = my_squares;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      sum[threadIdx.x] += sum[threadIdx.x + half];
      squares[threadIdx.x] += squares[threadIdx.x + half];
    }
    __syncthreads();
  }
  const int64_t per_group = channels / kDeviceGroups;
  const double count = static_cast<double>(size) * size * size * per_group;
  const double mean = sum[0] / count;
  const double variance = fmax(0.0, squares[0] / count - mean * mean);
  if (threadIdx.x == 0 && !(isfinite(mean) && isfinite(squares[0]))) *status = 1;
  const double inverse = 1.0 / sqrt(variance + epsilon);
  for (int64_t i = threadIdx.x; i < per_group; i += kThreads) {
    const int64_t channel = group * per_group + i;
    const double factor = gamma[channel] * inverse;
    scale[channel] = static_cast<float>(factor);
    shift[channel] = static_cast<float>(beta[channel] + (bias[channel] - mean) * factor);
  }
}

template <typename T>
__global__ void Normalise(ConvolutionOutput in, const float* scale, const float* shift, T* out) {
  const int64_t total = in.size * in.size * in.size * in.channels;
  const T* data = static_cast<const T*>(in.data);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total;
       i += step) {
    const int64_t channel = i % in.channels;
    const float value = ToFloat(data[PlaceOfVoxel(in, i / in.channels) + channel]);
    Assign(out + i, fmaxf(fmaf(value, scale[channel], shift[channel]), 0.0F));
  }
}

// imaging::Window::ToStored: clamp, one fused multiply-add, half away from zero.
__device__ int16_t ToStored(float unit, float half_range, float centre) {
  const float clamped = unit >= -1.0F ? fminf(unit, 1.0F) : -1.0F;
  return static_cast<int16_t>(roundf(fmaf(clamped, half_range, centre)));
}

template <typename T>
__global__ void Finish(ConvolutionOutput in, int64_t first, int64_t count, float half_range,
                       float centre, float* unit, int16_t* stored) {
  const int64_t total = count * in.size * in.size;
  const T* data = static_cast<const T*>(in.data);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total;
       i += step) {
    const int64_t voxel = first * in.size * in.size + i;
    const float value = tanhf(ToFloat(data[PlaceOfVoxel(in, voxel)]) + in.bias[0]);
    if (unit != nullptr) {
      unit[i] = value;
    } else {
      stored[i] = ToStored(value, half_range, centre);
    }
  }
}

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks of a kernel that strides over `total` values.
unsigned BlocksFor(int64_t total) {
  constexpr int64_t kMostBlocks = 1 << 16;
  const int64_t blocks = DivideUp(total, kThreads);
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

}  // namespace

cudaError_t LaunchLinear(const float* rows, const float* bias, const float* inputs, int64_t count,
                         int64_t channels, Element element, void* out, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(DivideUp(channels * 64 * kWarp, kThreads));
  if (element == Element::kFloat) {
    Linear<<<blocks, kThreads, 0, stream>>>(rows, bias, inputs, count, channels,
                                            static_cast<float*>(out));
  } else {
    Linear<<<blocks, kThreads, 0, stream>>>(rows, bias, inputs, count, channels,
                                            static_cast<__nv_bfloat16*>(out));
  }
  return cudaGetLastError();
}

int64_t GroupSumDoubles(int64_t size, int64_t channels) {
  return DivideUp(size * size * size, kSumVoxels) * DivideUp(channels, kSumChannels) *
         kDeviceGroups * 2;
}

cudaError_t LaunchGroupNormFactors(const ConvolutionOutput& in, const float* gamma,
                                   const float* beta, double epsilon, double* sums, float* scale,
                                   float* shift, int* status, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(DivideUp(in.size * in.size * in.size, kSumVoxels)),
                  static_cast<unsigned>(DivideUp(in.channels, kSumChannels)));
  if (in.element == Element::kFloat) {
    GroupSums<float><<<grid, kThreads, 0, stream>>>(in, sums);
  } else {
    GroupSums<__nv_bfloat16><<<grid, kThreads, 0, stream>>>(in, sums);
  }
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  Factors<<<kDeviceGroups, kThreads, 0, stream>>>(sums, static_cast<int64_t>(grid.x) * grid.y,
                                                  in.size, in.channels, in.bias, gamma, beta,
                                                  epsilon, scale, shift, status);
  return cudaGetLastError();
}

cudaError_t LaunchNormalise(const ConvolutionOutput& in, const float* scale, const float* shift,
                            void* out, cudaStream_t stream) {
  const unsigned blocks = BlocksFor(in.size * in.size * in.size * in.channels);
  if (in.element == Element::kFloat) {
    Normalise<<<blocks, kThreads, 0, stream>>>(in, scale, shift, static_cast<float*>(out));
  } else {
    Normalise<<<blocks, kThreads, 0, stream>>>(in, scale, shift, static_cast<__nv_bfloat16*>(out));
  }
  return cudaGetLastError();
}

cudaError_t LaunchFinish(const ConvolutionOutput& in, int64_t first, int64_t count,
                         float half_range, float centre, float* unit, int16_t* stored,
                         cudaStream_t stream) {
  const unsigned blocks = BlocksFor(count * in.size * in.size);
  if (in.element == Element::kFloat) {
    Finish<float>
        <<<blocks, kThreads, 0, stream>>>(in, first, count, half_range, centre, unit, stored);
  } else {
    Finish<__nv_bfloat16>
        <<<blocks, kThreads, 0, stream>>>(in, first, count, half_range, centre, unit, stored);
  }
  return cudaGetLastError();
}

}  // namespace synthvol::model
