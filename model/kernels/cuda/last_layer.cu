#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/last_layer.h"

namespace synthvol::model {
namespace {

constexpr int kThreads = 128;
constexpr int kPhases = 8;
// Positions along height that a thread computes: each weight that is read serves all of them, and
// each row of voxels two.
constexpr int kRows = 4;
// Channels whose weights are in shared memory at a time: 32 KiB.
constexpr int kChannels = 128;

// imaging::Window::ToStored: clamp, one fused multiply-add, half away from zero.
__device__ int16_t ToStored(float unit, float half_range, float centre) {
  const float clamped = unit >= -1.0F ? fminf(unit, 1.0F) : -1.0F;
  return static_cast<int16_t>(roundf(fmaf(clamped, half_range, centre)));
}

// Adds what one channel gives to all phases of the thread's positions: values[r] and values[r+1]
// are the two voxels along height of position r.
__device__ void AddChannel(const float* low, const float* high, const float (&values)[kRows + 1],
                           float (&sums)[kRows][kPhases]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float4 a = reinterpret_cast<const float4*>(low)[half];
    const float4 b = reinterpret_cast<const float4*>(high)[half];
    const float before[4] = {a.x, a.y, a.z, a.w};
    const float after[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& sum = sums[r][half * 4 + i];
        sum = fmaf(values[r], before[i], sum);
        sum = fmaf(values[r + 1], after[i], sum);
      }
    }
  }
}

// Adds channels begin..end-1 to the sums of kRows positions from (pz, py, px) on; weights
// [8 positions][end-begin][8 phases].
template <typename T>
__device__ void Convolve(const LastLayerInput& in, const float* weights, int begin, int end, int pz,
                         int py, int px, float (&sums)[kRows][kPhases]) {
  const int n = in.size;
  const int channels = end - begin;
  for (int dz = 0; dz < 2; ++dz) {
    const int z = pz - 1 + dz;
    if (z < 0 || z >= n) continue;
    for (int dx = 0; dx < 2; ++dx) {
      const int x = px - 1 + dx;
      if (x < 0 || x >= n) continue;
      const float* low = weights + (dz * 4 + dx) * channels * kPhases;
      const float* high = low + 2 * channels * kPhases;
      const int64_t column = (static_cast<int64_t>(z) * n * n + x) * in.channels + begin;
      for (int c = 0; c < channels; c += Pack<T>::kCount) {
        Pack<T> rows[kRows + 1];
#pragma unroll
        for (int r = 0; r <= kRows; ++r) {
          const int y = py - 1 + r;
          rows[r] = y >= 0 && y < n
                        ? Load<T>(in.map, column + static_cast<int64_t>(y) * n * in.channels + c)
                        : Pack<T>{};
        }
#pragma unroll
        for (int i = 0; i < Pack<T>::kCount; ++i) {
          float values[kRows + 1];
#pragma unroll
          for (int r = 0; r <= kRows; ++r) values[r] = ToFloat(rows[r].values[i]);
          AddChannel(low + (c + i) * kPhases, high + (c + i) * kPhases, values, sums);
        }
      }
    }
  }
}

// Writes the voxels of one position that exist.
__device__ void WritePosition(const float (&sums)[kPhases], float bias, int size, int pz, int py,
                              int px, const LastLayerOutput& out) {
#pragma unroll
  for (int phase = 0; phase < kPhases; ++phase) {
    const int z = 2 * pz - (phase >> 2);
    const int y = 2 * py - (phase >> 1 & 1);
    const int x = 2 * px - (phase & 1);
    if (z < 0 || z >= size || y < 0 || y >= size || x < 0 || x >= size) continue;
    const int64_t voxel = (static_cast<int64_t>(z) * size + y) * size + x;
    const float value = tanhf(sums[phase] + bias);
    if (out.unit != nullptr) {
      out.unit[voxel] = value;
    } else {
      out.stored[voxel] = ToStored(value, out.half_range, out.centre);
    }
  }
}

// A thread a column of kRows positions; grid.y counts planes.
template <typename T>
__global__ void LastLayer(LastLayerInput in, int first, LastLayerOutput out) {
  __shared__ float4 shared[8 * kChannels * kPhases / 4];
  auto* weights = reinterpret_cast<float*>(shared);
  const int extent = in.size + 1;
  const int item = blockIdx.x * kThreads + threadIdx.x;
  const int px = item % extent;
  const int py = item / extent * kRows;
  const int pz = first + static_cast<int>(blockIdx.y);
  float sums[kRows][kPhases] = {};
  for (int begin = 0; begin < in.channels; begin += kChannels) {
    const int end = min(begin + kChannels, in.channels);
    const int run = (end - begin) * kPhases;
    __syncthreads();
    for (int i = threadIdx.x; i < 8 * run; i += kThreads) {
      weights[i] = in.weights[i / run * in.channels * kPhases + begin * kPhases + i % run];
    }
    __syncthreads();
    if (py < extent) Convolve<T>(in, weights, begin, end, pz, py, px, sums);
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (py + r < extent) WritePosition(sums[r], *in.bias, 2 * in.size, pz, py + r, px, out);
  }
}

template <typename T>
void Launch(const LastLayerInput& in, int first, int count, const LastLayerOutput& out,
            cudaStream_t stream) {
  const int extent = in.size + 1;
  const int items = (extent + kRows - 1) / kRows * extent;
  const dim3 grid(static_cast<unsigned>((items + kThreads - 1) / kThreads),
                  static_cast<unsigned>(count));
  LastLayer<T><<<grid, kThreads, 0, stream>>>(in, first, out);
}

}  // namespace

cudaError_t LaunchLastLayer(const LastLayerInput& in, int first, int count,
                            const LastLayerOutput& out, cudaStream_t stream) {
  in.element == Element::kFloat ? Launch<float>(in, first, count, out, stream)
                                : Launch<__nv_bfloat16>(in, first, count, out, stream);
  return cudaGetLastError();
}

}  // namespace synthvol::model
