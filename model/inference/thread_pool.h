// Threads that stay, for loops whose pieces are independent.
//
// Thread-safe: several callers may run loops at once, each helps with its own and the pool's
// threads go where work is left. Which thread runs a piece is open, so pieces must not depend on
// it.
#ifndef SYNTHVOL_MODEL_INFERENCE_THREAD_POOL_H_
#define SYNTHVOL_MODEL_INFERENCE_THREAD_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "model/inference/buffer.h"

namespace synthvol::model {

class ThreadPool {
 public:
  // A piece: its index and memory of `scratch_floats` that nobody else uses meanwhile.
  using Piece = absl::FunctionRef<void(int64_t index, float* scratch)>;

  // Starts `threads` - 1 threads (a caller is the last one), each with its own scratch.
  // RESOURCE_EXHAUSTED when the system has no more threads or memory.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(int threads, int64_t scratch_floats);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs pieces 0..count-1 and returns when all are done. The caller's pieces get `scratch`.
  // Allocates nothing.
  void Run(int64_t count, float* scratch, Piece piece);

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

 private:
  struct Loop;
  ThreadPool() = default;
  void Work(float* scratch);
  // Takes pieces of `loop` until none is left. Called and left with the lock held.
  void Help(Loop& loop, float* scratch, std::unique_lock<std::mutex>& lock);

  std::vector<Buffer> scratches_;  // constant after Create
  std::vector<std::thread> workers_;

  std::mutex mutex_;
  std::condition_variable work_;  // signals loops_ and stopping_
  std::condition_variable done_;  // signals the end of a loop's last piece
  Loop* loops_ = nullptr;         // guarded by mutex_: loops with pieces left, linked
  bool stopping_ = false;         // guarded by mutex_
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_THREAD_POOL_H_
