// Lets jobs in as long as their memory fits a budget.
//
// Thread-safe. A Hold gives its bytes back when it is destroyed, and must not outlive the gate.
#ifndef SYNTHVOL_IMAGING_IO_MEMORY_GATE_H_
#define SYNTHVOL_IMAGING_IO_MEMORY_GATE_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace synthvol::imaging {

class MemoryGate {
 public:
  explicit MemoryGate(int64_t budget) : budget_(budget) {}

  class Hold {
   public:
    // Waits until `bytes` fit. A job larger than the whole budget runs alone.
    Hold(MemoryGate& gate, int64_t bytes);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    MemoryGate& gate_;
    const int64_t bytes_;
  };

 private:
  const int64_t budget_;
  std::mutex mutex_;
  std::condition_variable freed_;
  int64_t held_ = 0;  // guarded by mutex_
};

// Returns half of the machine's memory, in bytes.
int64_t HalfOfMemory();

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_MEMORY_GATE_H_
