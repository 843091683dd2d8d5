// What synthvol-prepare has done so far, as JSON lines in DIR/prepare.jsonl: the settings first,
// then one line per prepared volume. A run that was stopped goes on from it; manifest.json takes
// its place when the data set is complete.
//
// Thread-safe; owns the folder's lock, so that two runs do not fill one folder.
#ifndef SYNTHVOL_IMAGING_IO_PROGRESS_LOG_H_
#define SYNTHVOL_IMAGING_IO_PROGRESS_LOG_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "imaging/dataset.h"

namespace synthvol::imaging {

// The settings that decide what is in a data set; a folder keeps one set of them.
struct PrepareSettings {
  int64_t size = 64;
  std::string modality = "CT";
  std::string window_rule;
  double train_fraction = 0.9;
  uint64_t split_seed = 0;

  friend bool operator==(const PrepareSettings&, const PrepareSettings&) = default;
};

class ProgressLog {
 public:
  // Opens or creates DIR. FAILED_PRECONDITION when it holds something else, was made with other
  // settings (which one, and both values), or is being filled by another process.
  static absl::StatusOr<ProgressLog> Open(const std::string& dir, const PrepareSettings& settings);

  ProgressLog(ProgressLog&& other) noexcept;
  ProgressLog& operator=(ProgressLog&&) = delete;
  ~ProgressLog();

  // What earlier runs prepared, by source.
  const std::map<std::string, DatasetItem>& done() const { return done_; }

  // Notes a volume that is on disk.
  absl::Status Add(const DatasetItem& item);
  // Writes the manifest and removes the log.
  absl::Status Finish(const DatasetManifest& manifest);

 private:
  ProgressLog(std::string dir, int lock_fd);
  // Reads what an earlier run left: the manifest of a complete one, the log of a stopped one.
  absl::Status Load(const PrepareSettings& settings);
  absl::Status LoadLog(const PrepareSettings& settings);
  // Starts a log that holds what is done and opens it for appending.
  absl::Status Start(const PrepareSettings& settings);

  const std::string dir_;
  int lock_fd_ = -1;
  int log_fd_ = -1;
  std::map<std::string, DatasetItem> done_;
  std::unique_ptr<std::mutex> mutex_;  // guards writes to log_fd_
};

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_PROGRESS_LOG_H_
