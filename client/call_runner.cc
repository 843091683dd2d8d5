#include "client/call_runner.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/rpc_status.h"

namespace synthvol::client {

Cancellation::Cancellation() : state_(std::make_unique<State>()) {}
Cancellation::~Cancellation() = default;

void Cancellation::Cancel() {
  const absl::MutexLock lock(&state_->mutex);
  state_->cancelled = true;
  for (grpc::ClientContext* context : state_->running) context->TryCancel();
}

bool Cancellation::cancelled() const {
  const absl::MutexLock lock(&state_->mutex);
  return state_->cancelled;
}

CallRunner::CallRunner(EndpointPool& pool, const RetryPolicy& policy, const CallOptions& options)
    : pool_(pool),
      policy_(policy),
      cancellation_(options.cancellation),
      deadline_(absl::Now() + options.timeout) {}

AttemptResult CallRunner::RunOnce(const Attempt& attempt, const Endpoint& endpoint) {
  grpc::ClientContext context;
  if (deadline_ != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline_));
  if (absl::Status status = pool_.Authorize(context); !status.ok()) return {status, true, false};
  if (cancellation_ == nullptr) return attempt(endpoint, context);
  {
    const absl::MutexLock lock(&cancellation_->state_->mutex);
    if (cancellation_->state_->cancelled) return {absl::CancelledError("cancelled"), true, false};
    cancellation_->state_->running.insert(&context);
  }
  AttemptResult result = attempt(endpoint, context);
  const absl::MutexLock lock(&cancellation_->state_->mutex);
  cancellation_->state_->running.erase(&context);
  if (cancellation_->state_->cancelled && !result.status.ok()) {
    return {absl::CancelledError("cancelled"), true, false};
  }
  return result;
}

absl::Status CallRunner::Pause(absl::Duration pause, const absl::Status& why) {
  if (absl::Now() + pause >= deadline_) {
    return absl::DeadlineExceededError(
        absl::StrCat("the deadline is nearer than the next attempt; last error: ", why.message()));
  }
  if (cancellation_ == nullptr) {
    absl::SleepFor(pause);
    return absl::OkStatus();
  }
  const absl::MutexLock lock(&cancellation_->state_->mutex);
  cancellation_->state_->mutex.AwaitWithTimeout(absl::Condition(&cancellation_->state_->cancelled),
                                                pause);
  return cancellation_->state_->cancelled ? absl::CancelledError("cancelled") : absl::OkStatus();
}

absl::Status CallRunner::Run(const Attempt& attempt, const std::function<uint64_t()>& progress,
                             const OnRetry& on_retry) {
  uint64_t reached = progress();
  int fruitless = 0;
  absl::Status last;
  EndpointPool::Choice choice = pool_.Choose();
  while (true) {
    if (choice.wait > absl::ZeroDuration()) {
      if (absl::Status status = Pause(choice.wait, last); !status.ok()) return status;
    }
    const AttemptResult result = RunOnce(attempt, *choice.endpoint);
    if (result.reopen) {
      choice.wait = absl::ZeroDuration();
      continue;
    }
    if (result.status.ok()) {
      pool_.ReportSuccess(*choice.endpoint);
      return absl::OkStatus();
    }
    // With bytes already here, another replica may still have the version that this one lost.
    const bool elsewhere = pool_.size() > 1 && reached > 0 && absl::IsNotFound(result.status);
    // The caller's own cancellation is final. Any other is a stream that the server reset: gRPC
    // does so to calls that reach it between its shutdown and its GOAWAY, and to a reader that was
    // slow.
    const bool reset = absl::IsCancelled(result.status);
    if (result.final || !(IsRetriable(result.status) || elsewhere || reset)) return result.status;
    if (progress() > reached) {
      reached = progress();
      fruitless = 0;
      pool_.ReportSuccess(*choice.endpoint);
    }
    last = result.status;
    if (++fruitless >= policy_.max_attempts) {
      if (policy_.max_attempts == 1) return last;
      absl::Status given_up(
          last.code(), absl::StrCat(last.message(), " (given up after ", fruitless, " attempts)"));
      last.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
        given_up.SetPayload(type, payload);
      });
      return given_up;
    }
    const std::optional<absl::Duration> delay = RetryDelay(last);
    pool_.ReportFailure(*choice.endpoint, delay.has_value() ? &*delay : nullptr);
    choice = pool_.Choose();
    on_retry(last, choice.endpoint->address, choice.wait);
  }
}

}  // namespace synthvol::client
