#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/linear.h"

namespace synthvol::model {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

// One warp a row: each row is read once, 128 bytes at a time.
template <typename T>
__global__ void Linear(const float* rows, const float* bias, const float* inputs, int64_t count,
                       int64_t channels, T* out) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (row >= channels * 64) return;
  const int lane = threadIdx.x % kWarp;
  const float* weights = rows + row * count;
  float sum = 0.0F;
#pragma unroll 8
  for (int64_t i = lane; i < count; i += kWarp) sum = fmaf(weights[i], inputs[i], sum);
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, offset);
  }
  if (lane == 0) Assign(out[row % 64 * channels + row / 64], sum + bias[row]);
}

template <typename T>
void Launch(const float* rows, const float* bias, const float* inputs, int64_t count,
            int64_t channels, void* out, cudaStream_t stream) {
  const int64_t threads = channels * 64 * kWarp;
  Linear<<<static_cast<unsigned>((threads + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      rows, bias, inputs, count, channels, static_cast<T*>(out));
}

}  // namespace

cudaError_t LaunchLinear(const float* rows, const float* bias, const float* inputs, int64_t count,
                         int64_t channels, Element element, void* out, cudaStream_t stream) {
  element == Element::kFloat
      ? Launch<float>(rows, bias, inputs, count, channels, out, stream)
      : Launch<__nv_bfloat16>(rows, bias, inputs, count, channels, out, stream);
  return cudaGetLastError();
}

}  // namespace synthvol::model
