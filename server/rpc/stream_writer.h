// The sending end of one response stream: a bounded buffer between the worker that produces and the
// reader at the other end of the network.
//
// A worker never waits for a reader. It pushes a whole volume, which the buffer holds until it is
// sent, and asks before the next one whether there is room (Reserve); if not, it gives its worker
// away and is called back once there is. So one stream holds at most the larger of one volume and
// `buffer_bytes`, whatever its reader does, and a reader that takes nothing for the time that
// StreamMonitor allows is cut off.
//
// Thread-safe. Shared: by the producer, and by gRPC until OnDone. Callbacks are called without
// locks.
#ifndef SYNTHVOL_SERVER_RPC_STREAM_WRITER_H_
#define SYNTHVOL_SERVER_RPC_STREAM_WRITER_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace synthvol::server {

class StreamWriter final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // Makes a writer that keeps itself alive until gRPC is done with it.
  static std::shared_ptr<StreamWriter> Create(grpc::CallbackServerContext* context);

  // Sets what is called once when the caller is gone or has cancelled; at once when that is so
  // already. It gets the reason: CANCELLED, DEADLINE_EXCEEDED, or SLOW_READER's RESOURCE_EXHAUSTED.
  void SetOnGone(std::function<void(const absl::Status&)> on_gone);

  // Appends a message. Without effect after Close.
  void Push(grpc::ByteBuffer message) ABSL_LOCKS_EXCLUDED(mutex_);
  // Returns true when at most `bytes` are unsent. Otherwise returns false and calls `when_true`
  // once they are.
  bool Reserve(uint64_t bytes, std::function<void()> when_true) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the stream: after what was pushed when `status` is OK, at once otherwise.
  void Close(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  // Cuts the stream off when its reader took nothing since `since`; returns whether it did.
  bool EndIfStalledSince(absl::Time since) ABSL_LOCKS_EXCLUDED(mutex_);

  // Bytes pushed so far.
  uint64_t pushed_bytes() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Returns whether gRPC is done with the stream.
  bool done() const ABSL_LOCKS_EXCLUDED(mutex_);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit StreamWriter(grpc::CallbackServerContext* context)
      : context_(context), begin_(absl::Now()) {}

  // What to do with gRPC after the lock is released: it may call back at once.
  enum class Step { kNothing, kWrite, kFinish };
  Step NextStep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Take(Step step) ABSL_LOCKS_EXCLUDED(mutex_);
  void Gone(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  // Says why the caller is gone: its deadline reaches us as a cancellation too.
  absl::Status WhyGone(const char* cancelled) const;

  grpc::CallbackServerContext* const context_;
  const absl::Time begin_;
  // The message that gRPC is sending; touched only between kWrite and OnWriteDone.
  grpc::ByteBuffer current_;

  mutable absl::Mutex mutex_;
  std::shared_ptr<StreamWriter> self_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);
  uint64_t unsent_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t pushed_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time write_began_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> gone_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const absl::Status&)> on_gone_ ABSL_GUARDED_BY(mutex_);
  uint64_t reserved_below_ ABSL_GUARDED_BY(mutex_) = 0;
  std::function<void()> when_reserved_ ABSL_GUARDED_BY(mutex_);
};

// Cuts off readers that stopped. Thread-safe; owns a thread; must outlive the watched streams'
// producers.
class StreamMonitor {
 public:
  explicit StreamMonitor(absl::Duration timeout);
  ~StreamMonitor();

  // Watches a stream until it is done.
  void Watch(const std::shared_ptr<StreamWriter>& writer);
  // Number of streams that are open.
  size_t open() const;

 private:
  void Loop();

  const absl::Duration timeout_;
  mutable absl::Mutex mutex_;
  std::set<std::shared_ptr<StreamWriter>> watched_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_STREAM_WRITER_H_
