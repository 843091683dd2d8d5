// How the kernels of norm_relu.h share out a map, and what they all compute. Included by
// .cu files alone.
#ifndef SYNTHVOL_MODEL_KERNELS_CUDA_NORM_RELU_SHARE_CUH_
#define SYNTHVOL_MODEL_KERNELS_CUDA_NORM_RELU_SHARE_CUH_

#include <cuda_bf16.h>

#include <type_traits>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/norm_relu.h"

namespace synthvol::model {

// Adds the blocks' sums of a map: scratch [N,blocks,count,C] -> sums [N,count,C].
// `status`, if not null, becomes 1 when one is not finite.
cudaError_t AddAllBlocks(const NormReluMap& map, const double* scratch, int count, double* sums,
                         int* status, cudaStream_t stream);

namespace {

constexpr int kThreads = 32 * kDeviceGroups;
// Blocks that a launch aims at: some for each of a large GPU's multiprocessors.
constexpr int kBlocks = 1056;
constexpr float kEpsilon = 1e-5F;

// How a block and its threads share out the map: a block takes some rows of one sample, a thread
// one pack of channels of every `lanes`-th position of a row. No division inside.
template <typename T, bool kPhases>
struct Share {
  static constexpr int kPhaseCount = kPhases ? 8 : 1;

  __device__ explicit Share(const NormReluMap& in)
      : rows_high(kPhases ? in.height / 2 + 1 : in.height),
        rows((kPhases ? in.depth / 2 + 1 : in.depth) * rows_high),
        places((kPhases ? in.width / 2 + 1 : in.width) * kPhaseCount),
        sample(blockIdx.y),
        row_begin(static_cast<int>(static_cast<int64_t>(rows) * blockIdx.x / gridDim.x)),
        row_end(static_cast<int>(static_cast<int64_t>(rows) * (blockIdx.x + 1) / gridDim.x)),
        packs((in.channels / Pack<T>::kCount + gridDim.z - 1) / gridDim.z),
        lanes(kThreads / packs),
        lane(threadIdx.x / packs),
        first_channel(blockIdx.z * packs * Pack<T>::kCount),
        channel(first_channel + threadIdx.x % packs * Pack<T>::kCount),
        channels(in.channels) {}

  __device__ bool Works() const { return lane < lanes && channel < channels; }

  // Calls visit(element of the raw map, element of the map, or -1 outside) for the thread's places.
  template <typename Visit>
  __device__ void ForEach(const NormReluMap& in, const Visit& visit) const {
    for (int row = row_begin; row < row_end; ++row) {
      const int pz = row / rows_high;
      const int py = row % rows_high;
      const int64_t raw_row = static_cast<int64_t>(sample) * rows + row;
      for (int place = lane; place < places; place += lanes) {
        const int64_t raw = (raw_row * places + place) * in.channels + channel;
        if (!kPhases) {
          visit(raw, raw);
          continue;
        }
        const int z = 2 * pz - (place >> 2 & 1);
        const int y = 2 * py - (place >> 1 & 1);
        const int x = 2 * (place >> 3) - (place & 1);
        const bool inside = static_cast<unsigned>(z) < static_cast<unsigned>(in.depth) &&
                            static_cast<unsigned>(y) < static_cast<unsigned>(in.height) &&
                            static_cast<unsigned>(x) < static_cast<unsigned>(in.width);
        const int64_t voxel =
            ((static_cast<int64_t>(sample) * in.depth + z) * in.height + y) * in.width + x;
        visit(raw, inside ? voxel * in.channels + channel : -1);
      }
    }
  }

  int rows_high;
  int rows;
  int places;
  int sample;
  int row_begin;
  int row_end;
  int packs;
  int lanes;
  int lane;
  int first_channel;
  int channel;
  int channels;
};

// Adds the lanes' sums of each channel in order and writes them to scratch [N,blocks,kSums,C].
template <typename T, int kSums, typename ShareOfMap>
__device__ void WriteBlockSums(const ShareOfMap& share, const float (&sums)[kSums][Pack<T>::kCount],
                               double* scratch) {
  __shared__ float shared[kThreads * Pack<T>::kCount];
  const int width = share.packs * Pack<T>::kCount;
  const int local = share.channel - share.first_channel;
  for (int k = 0; k < kSums; ++k) {
    __syncthreads();
    if (share.Works()) {
      for (int i = 0; i < Pack<T>::kCount; ++i) shared[share.lane * width + local + i] = sums[k][i];
    }
    __syncthreads();
    for (int c = threadIdx.x; c < width && share.first_channel + c < share.channels;
         c += kThreads) {
      double sum = 0.0;
      for (int l = 0; l < share.lanes; ++l) sum += shared[l * width + c];
      scratch[((static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * kSums + k) *
                  share.channels +
              share.first_channel + c] = sum;
    }
  }
}

__device__ double AddWarp(double value) {
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// What a sample's groups need: mean and 1/deviation; in the backward pass also the means of the
// gradient and of its product with the normalised value.
struct Groups {
  float mean[kDeviceGroups];
  float inverse[kDeviceGroups];
  float gradient[kDeviceGroups];
  float product[kDeviceGroups];
};

// One warp a group. back_sums may be null.
__device__ void FindGroups(const NormReluMap& in, int sample, const double* sums,
                           const double* back_sums, Groups& groups) {
  const int group = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int per_group = in.channels / kDeviceGroups;
  const double count = static_cast<double>(in.depth) * in.height * in.width * per_group;
  double total = 0.0;
  double squares = 0.0;
  double gradient = 0.0;
  double product = 0.0;
  for (int i = lane; i < per_group; i += 32) {
    const int c = group * per_group + i;
    total += sums[static_cast<int64_t>(sample) * 2 * in.channels + c];
    squares += sums[(static_cast<int64_t>(sample) * 2 + 1) * in.channels + c];
    if (back_sums == nullptr) continue;
    const double gamma = in.gamma[c];
    gradient += gamma * back_sums[static_cast<int64_t>(sample) * 3 * in.channels + c];
    product += gamma * back_sums[(static_cast<int64_t>(sample) * 3 + 1) * in.channels + c];
  }
  const double mean = AddWarp(total) / count;
  const double variance = fmax(0.0, AddWarp(squares) / count - mean * mean);
  gradient = AddWarp(gradient) / count;
  product = AddWarp(product) / count;
  if (lane == 0) {
    groups.mean[group] = static_cast<float>(mean);
    groups.inverse[group] = static_cast<float>(1.0 / sqrt(variance + kEpsilon));
    groups.gradient[group] = static_cast<float>(gradient);
    groups.product[group] = static_cast<float>(product);
  }
  __syncthreads();
}

// Of one channel: normalised = x * inverse + centre, output = relu(x * scale + offset).
struct ChannelFactors {
  float inverse;
  float centre;
  float scale;
  float offset;
};

__device__ ChannelFactors FactorsOf(const NormReluMap& in, const Groups& groups, int channel) {
  const int group = channel / (in.channels / kDeviceGroups);
  ChannelFactors f;
  f.inverse = groups.inverse[group];
  f.centre = (in.shift[channel] - groups.mean[group]) * f.inverse;
  f.scale = in.gamma[channel] * f.inverse;
  f.offset = in.beta[channel] + in.gamma[channel] * f.centre;
  return f;
}

int Rows(const NormReluMap& map) {
  return map.phases ? (map.depth / 2 + 1) * (map.height / 2 + 1) : map.depth * map.height;
}

// Blocks a sample.
int BlocksOf(const NormReluMap& map) {
  const int wanted = kBlocks / map.samples > 0 ? kBlocks / map.samples : 1;
  return wanted < Rows(map) ? wanted : Rows(map);
}

dim3 GridOf(const NormReluMap& map) {
  const int packs = map.channels / (map.element == Element::kFloat ? 4 : 8);
  return {static_cast<unsigned>(BlocksOf(map)), static_cast<unsigned>(map.samples),
          static_cast<unsigned>((packs + kThreads - 1) / kThreads)};
}

// Calls launch.operator()<T, kPhases>() for the map's type.
template <typename Launch>
cudaError_t Dispatch(const NormReluMap& map, const Launch& launch) {
  if (map.element == Element::kFloat) {
    map.phases ? launch(float{}, std::true_type{}) : launch(float{}, std::false_type{});
  } else {
    map.phases ? launch(__nv_bfloat16{}, std::true_type{})
               : launch(__nv_bfloat16{}, std::false_type{});
  }
  return cudaGetLastError();
}

}  // namespace
}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_CUDA_NORM_RELU_SHARE_CUH_
