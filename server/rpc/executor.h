// Runs functions on a few threads of its own, away from gRPC's threads and the workers, in the
// order in which they were given.
//
// Thread-safe. The destructor runs what was given, then joins.
#ifndef SYNTHVOL_SERVER_RPC_EXECUTOR_H_
#define SYNTHVOL_SERVER_RPC_EXECUTOR_H_

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace synthvol::server {

class Executor {
 public:
  explicit Executor(int threads);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Takes any callable, also one that can only be moved.
  template <typename Work>
  void Add(Work work) {
    AddFunction([shared = std::make_shared<Work>(std::move(work))] { (*shared)(); });
  }

 private:
  void AddFunction(std::function<void()> work) ABSL_LOCKS_EXCLUDED(mutex_);
  void Loop();

  absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_EXECUTOR_H_
