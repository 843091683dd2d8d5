#include "model/kernels/cuda/norm_relu.h"
#include "model/kernels/cuda/norm_relu_share.cuh"

namespace synthvol::model {
namespace {

template <typename T, bool kPhases>
__global__ void BackSums(NormReluMap in, const double* sums, const void* gradient,
                         double* scratch) {
  constexpr int kCount = Pack<T>::kCount;
  __shared__ Groups groups;
  const Share<T, kPhases> share(in);
  FindGroups(in, share.sample, sums, nullptr, groups);
  float back[3][kCount] = {};
  if (share.Works()) {
    ChannelFactors f[kCount];
    for (int i = 0; i < kCount; ++i) f[i] = FactorsOf(in, groups, share.channel + i);
    share.ForEach(in, [&](int64_t raw, int64_t voxel) {
      if (voxel < 0) return;
      const Pack<T> pack = Load<T>(in.data, raw);
      const Pack<T> flow = Load<T>(gradient, voxel);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float value = ToFloat(pack.values[i]);
        const float normalised = fmaf(value, f[i].inverse, f[i].centre);
        const float passed =
            fmaf(value, f[i].scale, f[i].offset) > 0.0F ? ToFloat(flow.values[i]) : 0.0F;
        back[0][i] += passed;
        back[1][i] = fmaf(passed, normalised, back[1][i]);
        back[2][i] += normalised;
      }
    });
  }
  WriteBlockSums<T, 3>(share, back, scratch);
}

template <typename T, bool kPhases>
__global__ void ApplyBack(NormReluMap in, const double* sums, const double* back_sums,
                          const void* gradient, T* out) {
  constexpr int kCount = Pack<T>::kCount;
  __shared__ Groups groups;
  const Share<T, kPhases> share(in);
  FindGroups(in, share.sample, sums, back_sums, groups);
  if (!share.Works()) return;
  ChannelFactors f[kCount];
  float mean_gradient[kCount];
  float mean_product[kCount];
  for (int i = 0; i < kCount; ++i) {
    const int group = (share.channel + i) / (in.channels / kDeviceGroups);
    f[i] = FactorsOf(in, groups, share.channel + i);
    mean_gradient[i] = groups.gradient[group] * f[i].inverse;
    mean_product[i] = groups.product[group] * f[i].inverse;
  }
  share.ForEach(in, [&](int64_t raw, int64_t voxel) {
    Pack<T> result;
    if (voxel < 0) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) Assign(result.values[i], 0.0F);
    } else {
      const Pack<T> pack = Load<T>(in.data, raw);
      const Pack<T> flow = Load<T>(gradient, voxel);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float value = ToFloat(pack.values[i]);
        const float normalised = fmaf(value, f[i].inverse, f[i].centre);
        const float passed =
            fmaf(value, f[i].scale, f[i].offset) > 0.0F ? ToFloat(flow.values[i]) : 0.0F;
        Assign(result.values[i],
               fmaf(f[i].scale, passed, -mean_gradient[i]) - normalised * mean_product[i]);
      }
    }
    *reinterpret_cast<Pack<T>*>(out + raw) = result;
  });
}

// Blocks of one group; sums over the samples in order. Grid (groups, channels of a group /
// threads).
__global__ void ParameterGradients(NormReluMap in, const double* sums, const double* back_sums,
                                   float* d_shift, float* d_gamma, float* d_beta) {
  __shared__ Groups groups;
  const int per_group = in.channels / kDeviceGroups;
  const int group = blockIdx.x;
  const double voxels = static_cast<double>(in.depth) * in.height * in.width;
  const int in_group = blockIdx.y * kThreads + threadIdx.x;
  const int channel = group * per_group + in_group;
  const bool works = in_group < per_group;
  double shift = 0.0;
  double gamma = 0.0;
  double beta = 0.0;
  for (int n = 0; n < in.samples; ++n) {
    __syncthreads();
    FindGroups(in, n, sums, back_sums, groups);
    if (!works) continue;
    const double* back = back_sums + static_cast<int64_t>(n) * 3 * in.channels + channel;
    beta += back[0];
    gamma += back[in.channels];
    shift += static_cast<double>(groups.inverse[group]) *
             (static_cast<double>(in.gamma[channel]) * back[0] -
              static_cast<double>(groups.gradient[group]) * voxels -
              static_cast<double>(groups.product[group]) * back[2 * in.channels]);
  }
  if (!works) return;
  d_shift[channel] = static_cast<float>(shift);
  d_gamma[channel] = static_cast<float>(gamma);
  d_beta[channel] = static_cast<float>(beta);
}

}  // namespace

cudaError_t LaunchNormReluBackSums(const NormReluMap& map, const double* sums, const void* gradient,
                                   double* scratch, double* back_sums, cudaStream_t stream) {
  const cudaError_t error = Dispatch(map, [&](auto element, auto phases) {
    BackSums<decltype(element), decltype(phases)::value>
        <<<GridOf(map), kThreads, 0, stream>>>(map, sums, gradient, scratch);
  });
  return error != cudaSuccess ? error : AddAllBlocks(map, scratch, 3, back_sums, nullptr, stream);
}

cudaError_t LaunchNormReluBack(const NormReluMap& map, const double* sums, const double* back_sums,
                               const void* gradient, void* out, float* d_shift, float* d_gamma,
                               float* d_beta, cudaStream_t stream) {
  const cudaError_t error = Dispatch(map, [&](auto element, auto phases) {
    using T = decltype(element);
    ApplyBack<T, decltype(phases)::value><<<GridOf(map), kThreads, 0, stream>>>(
        map, sums, back_sums, gradient, static_cast<T*>(out));
  });
  if (error != cudaSuccess) return error;
  const int per_group = map.channels / kDeviceGroups;
  const dim3 grid(kDeviceGroups, static_cast<unsigned>((per_group + kThreads - 1) / kThreads));
  ParameterGradients<<<grid, kThreads, 0, stream>>>(map, sums, back_sums, d_shift, d_gamma, d_beta);
  return cudaGetLastError();
}

}  // namespace synthvol::model
