#include "server/rpc/stream_writer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/rpc/call.h"
#include "server/rpc/grpc_status.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

constexpr absl::Duration kLeastDeadlineSlack = absl::Milliseconds(20);
constexpr absl::Duration kMostDeadlineSlack = absl::Seconds(1);

}  // namespace

std::shared_ptr<StreamWriter> StreamWriter::Create(grpc::CallbackServerContext* context) {
  std::shared_ptr<StreamWriter> writer(new StreamWriter(context));
  absl::MutexLock lock(&writer->mutex_);
  writer->self_ = writer;
  return writer;
}

StreamWriter::Step StreamWriter::NextStep() {
  if (writing_ || finished_) return Step::kNothing;
  if (gone_.has_value() || (closed_.has_value() && !closed_->ok())) queue_.clear();
  if (!queue_.empty()) {
    current_ = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    write_began_ = absl::Now();
    return Step::kWrite;
  }
  if (!closed_.has_value()) return Step::kNothing;
  finished_ = true;
  return Step::kFinish;
}

void StreamWriter::Take(Step step) {
  if (step == Step::kWrite) {
    StartWrite(&current_);
  } else if (step == Step::kFinish) {
    absl::Status status;
    {
      absl::MutexLock lock(&mutex_);
      status = *closed_;
    }
    Finish(ToGrpcStatus(status));
  }
}

void StreamWriter::SetOnGone(std::function<void(const absl::Status&)> on_gone) {
  absl::Status why;
  {
    absl::MutexLock lock(&mutex_);
    if (!gone_.has_value()) {
      on_gone_ = std::move(on_gone);
      return;
    }
    why = *gone_;
  }
  on_gone(why);
}

void StreamWriter::Push(grpc::ByteBuffer message) {
  Step step;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_.has_value() || gone_.has_value()) return;
    unsent_bytes_ += message.Length();
    pushed_bytes_ += message.Length();
    queue_.push_back(std::move(message));
    step = NextStep();
  }
  Take(step);
}

bool StreamWriter::Reserve(uint64_t bytes, std::function<void()> when_true) {
  absl::MutexLock lock(&mutex_);
  if (unsent_bytes_ <= bytes) return true;
  reserved_below_ = bytes;
  when_reserved_ = std::move(when_true);
  return false;
}

void StreamWriter::Close(const absl::Status& status) {
  Step step;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_.has_value()) return;
    closed_ = status;
    when_reserved_ = nullptr;
    step = NextStep();
  }
  Take(step);
}

void StreamWriter::OnWriteDone(bool ok) {
  Step step = Step::kNothing;
  std::function<void()> reserved;
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    const uint64_t sent = current_.Length();
    unsent_bytes_ -= std::min<uint64_t>(unsent_bytes_, sent);
    current_.Clear();
    if (ok) {
      step = NextStep();
    }
    if (when_reserved_ != nullptr && unsent_bytes_ <= reserved_below_) {
      reserved = std::exchange(when_reserved_, nullptr);
    }
  }
  if (!ok) return Gone(WhyGone("the caller is gone"));
  Take(step);
  if (reserved) reserved();
}

void StreamWriter::Gone(const absl::Status& why) {
  Step step;
  absl::Status reason;
  std::function<void(const absl::Status&)> on_gone;
  {
    absl::MutexLock lock(&mutex_);
    if (!gone_.has_value()) gone_ = why;
    reason = *gone_;
    queue_.clear();
    when_reserved_ = nullptr;
    if (!closed_.has_value()) closed_ = reason;
    on_gone = std::exchange(on_gone_, nullptr);
    step = NextStep();
  }
  if (on_gone) on_gone(reason);
  Take(step);
}

void StreamWriter::OnCancel() { Gone(WhyGone("the caller cancelled")); }

absl::Status StreamWriter::WhyGone(const char* cancelled) const {
  const absl::Time deadline = DeadlineOf(*context_);
  const absl::Time now = absl::Now();
  // The caller's own timer began before ours, and what gRPC told us of it was rounded up.
  const absl::Duration early =
      std::clamp((deadline - begin_) / 50, kLeastDeadlineSlack, kMostDeadlineSlack);
  if (deadline - now > early) return absl::CancelledError(cancelled);
  return WithReason(absl::DeadlineExceededError("the deadline passed"), "DEADLINE");
}

bool StreamWriter::EndIfStalledSince(absl::Time since) {
  {
    absl::MutexLock lock(&mutex_);
    if (!writing_ || gone_.has_value() || write_began_ > since) return false;
    gone_ = WithReason(absl::ResourceExhaustedError("the reader took nothing for too long"),
                       "SLOW_READER");
  }
  // A status would wait behind the data that the reader does not take: the stream is reset.
  context_->TryCancel();
  return true;
}

void StreamWriter::OnDone() {
  // Outlives the lock: it may be the last reference.
  std::shared_ptr<StreamWriter> self;
  absl::MutexLock lock(&mutex_);
  done_ = true;
  on_gone_ = nullptr;
  self = std::move(self_);
}

uint64_t StreamWriter::pushed_bytes() const {
  absl::MutexLock lock(&mutex_);
  return pushed_bytes_;
}

bool StreamWriter::done() const {
  absl::MutexLock lock(&mutex_);
  return done_;
}

StreamMonitor::StreamMonitor(absl::Duration timeout)
    : timeout_(timeout), thread_([this] { Loop(); }) {}

StreamMonitor::~StreamMonitor() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void StreamMonitor::Watch(const std::shared_ptr<StreamWriter>& writer) {
  absl::MutexLock lock(&mutex_);
  watched_.insert(writer);
}

size_t StreamMonitor::open() const {
  absl::MutexLock lock(&mutex_);
  return watched_.size();
}

void StreamMonitor::Loop() {
  const absl::Duration period =
      std::clamp(timeout_ / 4, absl::Milliseconds(20), absl::Milliseconds(500));
  while (true) {
    std::vector<std::shared_ptr<StreamWriter>> streams;
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), period)) return;
      for (auto it = watched_.begin(); it != watched_.end();) {
        it = (*it)->done() ? watched_.erase(it) : std::next(it);
      }
      streams.assign(watched_.begin(), watched_.end());
    }
    for (const auto& stream : streams) stream->EndIfStalledSince(absl::Now() - timeout_);
  }
}

}  // namespace synthvol::server
