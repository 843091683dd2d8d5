#include "model/inference/buffer.h"

#include <sys/mman.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace synthvol::model {
namespace {

constexpr int64_t kPageBytes = 4096;

}  // namespace

int64_t Buffer::BytesFor(int64_t floats) {
  const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

absl::StatusOr<Buffer> Buffer::Allocate(int64_t floats) {
  Buffer buffer;
  if (floats == 0) return buffer;
  const int64_t bytes = BytesFor(floats);
  void* address = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot get ", bytes >> 20, " MiB of memory for a synthesis"));
  }
  // Fewer page faults and TLB misses; a system without huge pages ignores it.
  madvise(address, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  buffer.data_ = static_cast<float*>(address);
  buffer.bytes_ = bytes;
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace synthvol::model
