// A CUDA stream that nobody else uses. Those of ATen's pool are handed out in turn and shared by
// the 33rd taker: a recording would then record another context's work, or fail by it.
#ifndef SYNTHVOL_MODEL_INFERENCE_CUDA_OWN_STREAM_H_
#define SYNTHVOL_MODEL_INFERENCE_CUDA_OWN_STREAM_H_

#include <c10/core/Device.h>
#include <c10/cuda/CUDAStream.h>

namespace synthvol::model {

class OwnStream {
 public:
  // Takes an idle stream of the device, or makes one. Throws c10::Error.
  explicit OwnStream(c10::DeviceIndex device);
  // Hands the stream to the next taker; all work on it must be done. Streams are never destroyed,
  // since ATen's allocator keeps memory by stream.
  ~OwnStream();
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;

  const c10::cuda::CUDAStream& get() const { return stream_; }
  cudaStream_t raw() const { return stream_.stream(); }

 private:
  const c10::cuda::CUDAStream stream_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CUDA_OWN_STREAM_H_
