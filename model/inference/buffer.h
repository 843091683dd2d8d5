// A block of floats for weights and activations: mapped in whole pages (huge ones where the system
// has them), zero at first, given back to the system on destruction.
//
// Not thread-safe to resize; its memory may be shared as its users agree.
#ifndef SYNTHVOL_MODEL_INFERENCE_BUFFER_H_
#define SYNTHVOL_MODEL_INFERENCE_BUFFER_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace synthvol::model {

class Buffer {
 public:
  Buffer() = default;
  // RESOURCE_EXHAUSTED when the system has not that much.
  static absl::StatusOr<Buffer> Allocate(int64_t floats);

  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  float* data() { return data_; }
  const float* data() const { return data_; }
  // Bytes taken from the system.
  int64_t bytes() const { return bytes_; }
  // Bytes that Allocate takes for so many floats.
  static int64_t BytesFor(int64_t floats);

 private:
  float* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_BUFFER_H_
