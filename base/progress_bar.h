// Progress on stderr: a bar with rate and remaining time on a terminal, a plain line every few
// seconds in a pipe.
//
// Thread-safe. Prints at most ten times a second; the destructor ends the line.
#ifndef SYNTHVOL_BASE_PROGRESS_BAR_H_
#define SYNTHVOL_BASE_PROGRESS_BAR_H_

#include <cstdint>
#include <mutex>
#include <string>

#include "absl/time/time.h"

namespace synthvol {

class ProgressBar {
 public:
  // `unit` names what is counted ("scans", "iterations", "slices"); `start` is what was done
  // before (a resumed run), left out of the rate.
  ProgressBar(std::string label, std::string unit, uint64_t total, uint64_t start = 0);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Sets how much is done; `note` follows the figures (losses, a file name).
  void Update(uint64_t done, const std::string& note = "");
  // Adds to how much is done.
  void Advance(uint64_t count = 1, const std::string& note = "");
  // Prints the last state and ends the line.
  void Finish();

 private:
  void Print(bool last);
  std::string Render(absl::Time now, int columns) const;

  const std::string label_;
  const std::string unit_;
  const uint64_t total_;
  const uint64_t start_;
  const bool terminal_;
  const absl::Time begun_;

  std::mutex mutex_;
  uint64_t done_;          // guarded by mutex_
  std::string note_;       // guarded by mutex_
  absl::Time printed_;     // guarded by mutex_
  bool finished_ = false;  // guarded by mutex_
};

}  // namespace synthvol

#endif  // SYNTHVOL_BASE_PROGRESS_BAR_H_
