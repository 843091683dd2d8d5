// The element types of device maps, and 16 bytes of them. Included by .cu files alone.
#ifndef SYNTHVOL_MODEL_KERNELS_CUDA_ELEMENT_CUH_
#define SYNTHVOL_MODEL_KERNELS_CUDA_ELEMENT_CUH_

#include <cuda_bf16.h>

#include <cstdint>

namespace synthvol::model {
namespace {

__device__ inline float ToFloat(float value) { return value; }
__device__ inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void Assign(float& to, float value) { to = value; }
__device__ inline void Assign(__nv_bfloat16& to, float value) { to = __float2bfloat16_rn(value); }

// 16 bytes of channels.
template <typename T>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(T);
  T values[kCount];
};

template <typename T>
__device__ Pack<T> Load(const void* data, int64_t element) {
  return *reinterpret_cast<const Pack<T>*>(static_cast<const T*>(data) + element);
}

}  // namespace
}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_CUDA_ELEMENT_CUH_
