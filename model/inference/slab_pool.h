// Memory for slabs on the CPU. A slab belongs to whoever holds it, a stream for instance, and comes
// back for reuse when the last holder lets go of it.
//
// Thread-safe. Shared by the slabs that are out, which may outlive the synthesizer.
#ifndef SYNTHVOL_MODEL_INFERENCE_SLAB_POOL_H_
#define SYNTHVOL_MODEL_INFERENCE_SLAB_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "model/inference/buffer.h"

namespace synthvol::model {

class SlabPool : public std::enable_shared_from_this<SlabPool> {
 public:
  // Slabs of `floats` floats; unused ones are kept up to `max_kept_bytes` in all, and one at least.
  static std::shared_ptr<SlabPool> Create(int64_t floats, int64_t max_kept_bytes);

  // Returns a slab with what its last holder left in it. RESOURCE_EXHAUSTED for memory.
  absl::StatusOr<std::shared_ptr<Buffer>> Take();

 private:
  SlabPool(int64_t floats, int64_t max_kept_bytes);
  void Give(std::unique_ptr<Buffer> slab);

  const int64_t floats_;
  const size_t max_kept_;

  std::mutex mutex_;
  // The one that came back last, which the caches may still hold, goes out first.
  std::vector<std::unique_ptr<Buffer>> kept_;  // guarded by mutex_
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_SLAB_POOL_H_
