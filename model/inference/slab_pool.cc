#include "model/inference/slab_pool.h"

#include <algorithm>
#include <utility>

namespace synthvol::model {

std::shared_ptr<SlabPool> SlabPool::Create(int64_t floats, int64_t max_kept_bytes) {
  return std::shared_ptr<SlabPool>(new SlabPool(floats, max_kept_bytes));
}

SlabPool::SlabPool(int64_t floats, int64_t max_kept_bytes)
    : floats_(floats),
      max_kept_(static_cast<size_t>(
          std::max<int64_t>(1, max_kept_bytes / std::max<int64_t>(1, Buffer::BytesFor(floats))))) {}

absl::StatusOr<std::shared_ptr<Buffer>> SlabPool::Take() {
  std::unique_ptr<Buffer> slab;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!kept_.empty()) {
      slab = std::move(kept_.back());
      kept_.pop_back();
    }
  }
  if (slab == nullptr) {
    auto allocated = Buffer::Allocate(floats_);
    if (!allocated.ok()) return allocated.status();
    slab = std::make_unique<Buffer>(*std::move(allocated));
  }
  return std::shared_ptr<Buffer>(slab.release(), [pool = shared_from_this()](Buffer* given) {
    pool->Give(std::unique_ptr<Buffer>(given));
  });
}

void SlabPool::Give(std::unique_ptr<Buffer> slab) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Beyond the bound it goes back to the system, after the lock.
  if (kept_.size() < max_kept_) kept_.push_back(std::move(slab));
}

}  // namespace synthvol::model
