#include "model/inference/thread_pool.h"

#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace synthvol::model {

// Lives on its caller's stack; all of it is guarded by the pool's mutex. Pieces last milliseconds,
// so that taking one under the lock costs nothing that can be measured.
struct ThreadPool::Loop {
  Piece piece;
  int64_t count;
  int64_t next = 0;
  int64_t running = 0;
  Loop* after = nullptr;
};

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(int threads,
                                                               int64_t scratch_floats) {
  std::unique_ptr<ThreadPool> pool(new ThreadPool());
  for (int i = 1; i < threads; ++i) {
    auto scratch = Buffer::Allocate(scratch_floats);
    if (!scratch.ok()) return scratch.status();
    pool->scratches_.push_back(*std::move(scratch));
  }
  for (Buffer& scratch : pool->scratches_) {
    try {
      pool->workers_.emplace_back(&ThreadPool::Work, pool.get(), scratch.data());
    } catch (const std::system_error& error) {
      return absl::ResourceExhaustedError(
          absl::StrCat("cannot start thread ", pool->workers_.size() + 1, ": ", error.what()));
    }
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Help(Loop& loop, float* scratch, std::unique_lock<std::mutex>& lock) {
  while (loop.next < loop.count) {
    const int64_t index = loop.next++;
    ++loop.running;
    if (loop.next == loop.count) {
      // Nothing left to take: out of the list.
      Loop** link = &loops_;
      while (*link != &loop) link = &(*link)->after;
      *link = loop.after;
    }
    lock.unlock();
    loop.piece(index, scratch);
    lock.lock();
    --loop.running;
  }
}

void ThreadPool::Run(int64_t count, float* scratch, Piece piece) {
  if (count <= 0) return;
  Loop loop{piece, count};
  std::unique_lock<std::mutex> lock(mutex_);
  // At the end of the list: an earlier loop is not starved.
  Loop** link = &loops_;
  while (*link != nullptr) link = &(*link)->after;
  *link = &loop;
  if (count > 1) work_.notify_all();
  Help(loop, scratch, lock);
  done_.wait(lock, [&loop] { return loop.running == 0; });
}

void ThreadPool::Work(float* scratch) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stopping_ || loops_ != nullptr; });
    if (stopping_) return;
    Loop& loop = *loops_;
    Help(loop, scratch, lock);
    // Only the last one out may find the caller waiting; the loop dies with it.
    done_.notify_all();
  }
}

}  // namespace synthvol::model
