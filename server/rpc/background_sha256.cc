#include "server/rpc/background_sha256.h"

#include <deque>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/checksum.h"

namespace synthvol::server {
namespace {

// Below this, waking a thread costs more than it takes off the worker; about 0.15 ms of hashing.
constexpr size_t kWorthAThread = 256 << 10;

}  // namespace

struct BackgroundSha256::State {
  // Hashes until nothing waits. Call it with `hashing` set and clears it.
  void HashAll() ABSL_LOCKS_EXCLUDED(mutex);

  absl::Mutex mutex;
  std::deque<grpc::Slice> waiting ABSL_GUARDED_BY(mutex);
  size_t waiting_bytes ABSL_GUARDED_BY(mutex) = 0;
  // Whether somebody is in HashAll, or about to be.
  bool hashing ABSL_GUARDED_BY(mutex) = false;
  // Belongs to whoever set `hashing`.
  Sha256 sha256;
};

void BackgroundSha256::State::HashAll() {
  absl::MutexLock lock(&mutex);
  while (!waiting.empty()) {
    const grpc::Slice piece = std::move(waiting.front());
    waiting.pop_front();
    waiting_bytes -= piece.size();
    mutex.Unlock();
    sha256.Update(std::string_view(reinterpret_cast<const char*>(piece.begin()), piece.size()));
    mutex.Lock();
  }
  hashing = false;
}

BackgroundSha256::BackgroundSha256(Executor& executor)
    : executor_(executor), state_(std::make_shared<State>()) {}

BackgroundSha256::~BackgroundSha256() {
  const absl::MutexLock lock(&state_->mutex);
  state_->waiting.clear();
  state_->waiting_bytes = 0;
}

void BackgroundSha256::Update(grpc::Slice slice) {
  {
    const absl::MutexLock lock(&state_->mutex);
    state_->waiting_bytes += slice.size();
    state_->waiting.push_back(std::move(slice));
    if (state_->hashing || state_->waiting_bytes < kWorthAThread) return;
    state_->hashing = true;
  }
  executor_.Add([state = state_] { state->HashAll(); });
}

std::string BackgroundSha256::Finish() {
  {
    const absl::MutexLock lock(&state_->mutex);
    const auto idle = [this]()
                          ABSL_SHARED_LOCKS_REQUIRED(state_->mutex) { return !state_->hashing; };
    state_->mutex.Await(absl::Condition(&idle));
    state_->hashing = true;
  }
  state_->HashAll();
  return state_->sha256.Finish();
}

}  // namespace synthvol::server
