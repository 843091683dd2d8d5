// Runs functions one after the other on a thread of its own, away from gRPC's threads.
//
// Thread-safe. The destructor runs what was given, then joins.
#ifndef SYNTHVOL_SERVER_RPC_SERIAL_EXECUTOR_H_
#define SYNTHVOL_SERVER_RPC_SERIAL_EXECUTOR_H_

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace synthvol::server {

class SerialExecutor {
 public:
  SerialExecutor() : thread_([this] { Loop(); }) {}
  ~SerialExecutor();
  SerialExecutor(const SerialExecutor&) = delete;
  SerialExecutor& operator=(const SerialExecutor&) = delete;

  void Add(std::function<void()> work) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop();

  absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SERIAL_EXECUTOR_H_
