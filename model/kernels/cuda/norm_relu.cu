#include "model/kernels/cuda/norm_relu.h"
#include "model/kernels/cuda/norm_relu_share.cuh"

namespace synthvol::model {
namespace {

// Adds the blocks' sums: a warp's lanes are 32 channels, the warps share the blocks out.
// scratch [N,blocks,kSums,C] -> sums [N,kSums,C]; grid (C/32, N, kSums).
__global__ void AddBlocks(const double* scratch, int blocks, int channels, double* sums,
                          int* status) {
  constexpr int kWarps = kThreads / 32;
  __shared__ double shared[kWarps][32];
  const int channel = static_cast<int>(blockIdx.x) * 32 + threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  double sum = 0.0;
  if (channel < channels) {
    for (int b = warp; b < blocks; b += kWarps) {
      sum += scratch[((static_cast<int64_t>(blockIdx.y) * blocks + b) * gridDim.z + blockIdx.z) *
                         channels +
                     channel];
    }
  }
  shared[warp][threadIdx.x % 32] = sum;
  __syncthreads();
  if (warp > 0 || channel >= channels) return;
  for (int w = 1; w < kWarps; ++w) sum += shared[w][threadIdx.x];
  sums[(static_cast<int64_t>(blockIdx.y) * gridDim.z + blockIdx.z) * channels + channel] = sum;
  if (status != nullptr && !isfinite(sum)) *status = 1;
}

template <typename T, bool kPhases>
__global__ void Sums(NormReluMap in, double* scratch) {
  constexpr int kCount = Pack<T>::kCount;
  const Share<T, kPhases> share(in);
  float sums[2][kCount] = {};
  if (share.Works()) {
    float shift[kCount];
    for (int i = 0; i < kCount; ++i) shift[i] = in.shift[share.channel + i];
    share.ForEach(in, [&](int64_t raw, int64_t voxel) {
      if (voxel < 0) return;
      const Pack<T> pack = Load<T>(in.data, raw);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float value = ToFloat(pack.values[i]) + shift[i];
        sums[0][i] += value;
        sums[1][i] = fmaf(value, value, sums[1][i]);
      }
    });
  }
  WriteBlockSums<T, 2>(share, sums, scratch);
}

template <typename T, bool kPhases>
__global__ void Apply(NormReluMap in, const double* sums, T* out) {
  constexpr int kCount = Pack<T>::kCount;
  __shared__ Groups groups;
  const Share<T, kPhases> share(in);
  FindGroups(in, share.sample, sums, nullptr, groups);
  if (!share.Works()) return;
  float scale[kCount];
  float offset[kCount];
  for (int i = 0; i < kCount; ++i) {
    const ChannelFactors f = FactorsOf(in, groups, share.channel + i);
    scale[i] = f.scale;
    offset[i] = f.offset;
  }
  share.ForEach(in, [&](int64_t raw, int64_t voxel) {
    if (voxel < 0) return;
    Pack<T> pack = Load<T>(in.data, raw);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      Assign(pack.values[i], fmaxf(fmaf(ToFloat(pack.values[i]), scale[i], offset[i]), 0.0F));
    }
    *reinterpret_cast<Pack<T>*>(out + voxel) = pack;
  });
}

}  // namespace

cudaError_t AddAllBlocks(const NormReluMap& map, const double* scratch, int count, double* sums,
                         int* status, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((map.channels + 31) / 32),
                  static_cast<unsigned>(map.samples), static_cast<unsigned>(count));
  AddBlocks<<<grid, kThreads, 0, stream>>>(scratch, BlocksOf(map), map.channels, sums, status);
  return cudaGetLastError();
}

int64_t NormReluScratch(const NormReluMap& map) {
  return int64_t{3} * map.samples * BlocksOf(map) * map.channels;
}

cudaError_t LaunchNormReluSums(const NormReluMap& map, double* scratch, double* sums, int* status,
                               cudaStream_t stream) {
  const cudaError_t error = Dispatch(map, [&](auto element, auto phases) {
    Sums<decltype(element), decltype(phases)::value>
        <<<GridOf(map), kThreads, 0, stream>>>(map, scratch);
  });
  return error != cudaSuccess ? error : AddAllBlocks(map, scratch, 2, sums, status, stream);
}

cudaError_t LaunchNormRelu(const NormReluMap& map, const double* sums, void* out,
                           cudaStream_t stream) {
  return Dispatch(map, [&](auto element, auto phases) {
    using T = decltype(element);
    Apply<T, decltype(phases)::value>
        <<<GridOf(map), kThreads, 0, stream>>>(map, sums, static_cast<T*>(out));
  });
}

}  // namespace synthvol::model
