#include "imaging/io/memory_gate.h"

#include <unistd.h>

namespace synthvol::imaging {

MemoryGate::Hold::Hold(MemoryGate& gate, int64_t bytes) : gate_(gate), bytes_(bytes) {
  std::unique_lock lock(gate_.mutex_);
  gate_.freed_.wait(lock,
                    [&] { return gate_.held_ == 0 || gate_.held_ + bytes_ <= gate_.budget_; });
  gate_.held_ += bytes_;
}

MemoryGate::Hold::~Hold() {
  const std::lock_guard lock(gate_.mutex_);
  gate_.held_ -= bytes_;
  gate_.freed_.notify_all();
}

int64_t HalfOfMemory() { return sysconf(_SC_PHYS_PAGES) / 2 * sysconf(_SC_PAGESIZE); }

}  // namespace synthvol::imaging
