#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/norm_relu.h"

namespace synthvol::model {
namespace {

constexpr int kThreads = 128;

// A block a row of the map: grid (height, depth, samples).
template <typename T>
__global__ void TanhPhases(TanhMap map, const T* phases, const float* shift, T* out) {
  const int y = blockIdx.x;
  const int z = blockIdx.y;
  const int64_t sample = blockIdx.z;
  const int64_t extents_z = map.depth / 2 + 1;
  const int64_t extents_y = map.height / 2 + 1;
  const int64_t extents_x = map.width / 2 + 1;
  const T* row =
      phases + ((sample * extents_z + (z + 1) / 2) * extents_y + (y + 1) / 2) * extents_x * 8;
  T* to = out + ((sample * map.depth + z) * map.height + y) * map.width;
  const int phase = (z & 1) * 4 + (y & 1) * 2;
  for (int x = threadIdx.x; x < map.width; x += kThreads) {
    Assign(to[x], tanhf(ToFloat(row[(x + 1) / 2 * 8 + phase + (x & 1)]) + *shift));
  }
}

// A block a row of the phases: grid (height/2+1, depth/2+1, samples).
template <typename T>
__global__ void TanhPhasesBack(TanhMap map, const T* output, const T* gradient, T* phases) {
  const int64_t sample = blockIdx.z;
  const int places = (map.width / 2 + 1) * 8;
  T* row = phases + ((sample * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * places;
  for (int place = threadIdx.x; place < places; place += kThreads) {
    const int z = 2 * static_cast<int>(blockIdx.y) - (place >> 2 & 1);
    const int y = 2 * static_cast<int>(blockIdx.x) - (place >> 1 & 1);
    const int x = 2 * (place >> 3) - (place & 1);
    float value = 0.0F;
    if (z >= 0 && z < map.depth && y >= 0 && y < map.height && x >= 0 && x < map.width) {
      const int64_t voxel = ((sample * map.depth + z) * map.height + y) * map.width + x;
      const float t = ToFloat(output[voxel]);
      value = ToFloat(gradient[voxel]) * (1.0F - t * t);
    }
    Assign(row[place], value);
  }
}

dim3 Grid(int width, int height, int depth) {
  return {static_cast<unsigned>(width), static_cast<unsigned>(height),
          static_cast<unsigned>(depth)};
}

template <typename T>
void Forward(const TanhMap& map, const void* phases, const float* shift, void* out,
             cudaStream_t stream) {
  TanhPhases<<<Grid(map.height, map.depth, map.samples), kThreads, 0, stream>>>(
      map, static_cast<const T*>(phases), shift, static_cast<T*>(out));
}

template <typename T>
void Back(const TanhMap& map, const void* output, const void* gradient, void* phases,
          cudaStream_t stream) {
  TanhPhasesBack<<<Grid(map.height / 2 + 1, map.depth / 2 + 1, map.samples), kThreads, 0, stream>>>(
      map, static_cast<const T*>(output), static_cast<const T*>(gradient), static_cast<T*>(phases));
}

}  // namespace

cudaError_t LaunchTanhPhases(const TanhMap& map, const void* phases, const float* shift, void* out,
                             cudaStream_t stream) {
  map.element == Element::kFloat ? Forward<float>(map, phases, shift, out, stream)
                                 : Forward<__nv_bfloat16>(map, phases, shift, out, stream);
  return cudaGetLastError();
}

cudaError_t LaunchTanhPhasesBack(const TanhMap& map, const void* output, const void* gradient,
                                 void* phases, cudaStream_t stream) {
  map.element == Element::kFloat ? Back<float>(map, output, gradient, phases, stream)
                                 : Back<__nv_bfloat16>(map, output, gradient, phases, stream);
  return cudaGetLastError();
}

}  // namespace synthvol::model
