#include "model/inference/cuda/own_stream.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace synthvol::model {
namespace {

// The streams that nobody uses now; lives as long as the process, as CUDA does.
struct IdleStreams {
  std::mutex mutex;
  std::vector<c10::cuda::CUDAStream> streams;  // guarded by mutex
};

IdleStreams& Idle() {
  static auto* const idle = new IdleStreams;
  return *idle;
}

c10::cuda::CUDAStream TakeStream(c10::DeviceIndex device) {
  {
    const std::lock_guard<std::mutex> lock(Idle().mutex);
    auto& streams = Idle().streams;
    const auto found = std::find_if(streams.begin(), streams.end(), [device](const auto& stream) {
      return stream.device_index() == device;
    });
    if (found != streams.end()) {
      const c10::cuda::CUDAStream stream = *found;
      streams.erase(found);
      return stream;
    }
  }
  const c10::cuda::CUDAGuard guard(device);
  cudaStream_t stream = nullptr;
  C10_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return c10::cuda::getStreamFromExternal(stream, device);
}

}  // namespace

OwnStream::OwnStream(c10::DeviceIndex device) : stream_(TakeStream(device)) {}

OwnStream::~OwnStream() {
  const std::lock_guard<std::mutex> lock(Idle().mutex);
  Idle().streams.push_back(stream_);
}

}  // namespace synthvol::model
