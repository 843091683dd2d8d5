// The folder that `synthvol generate` fills, and what makes it safe to run again: a manifest that
// says which request the folder belongs to, a journal of finished volumes, and a work folder for
// unfinished ones.
//
//   manifest.json          the request, the model's digest, whether all is done
//   volumes.jsonl          a line a finished volume: seed, files, SHA-256, what made it
//   NAME-seed-000042.*     the volumes
//   .synthvol/             unfinished volumes; gone at the end
//
// A shard i/n has manifest-i-of-n.json and volumes-i-of-n.jsonl instead, so that n workers can
// share a folder. Thread-safe. Holds a lock on the folder (per shard) while it lives.
#ifndef SYNTHVOL_CLIENT_CLI_OUTPUT_FOLDER_H_
#define SYNTHVOL_CLIENT_CLI_OUTPUT_FOLDER_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace synthvol::client {

// Worker `index` of `count`: it makes the volumes [total*index/count, total*(index+1)/count).
struct Shard {
  uint64_t index = 0;
  uint64_t count = 1;

  uint64_t Begin(uint64_t total) const { return Part(total, index); }
  uint64_t End(uint64_t total) const { return Part(total, index + 1); }

 private:
  uint64_t Part(uint64_t total, uint64_t part) const {
    // total <= 2^32 and part <= count <= 2^20: no overflow.
    return total * part / count;
  }
};

// Parses "i/n" with 0 <= i < n. INVALID_ARGUMENT says so.
absl::StatusOr<Shard> ParseShard(const std::string& text);

class OutputFolder {
 public:
  // Opens a new or empty folder, or one that `request` began. FAILED_PRECONDITION when it has other
  // content, another request or is in use by another process.
  static absl::StatusOr<std::unique_ptr<OutputFolder>> Open(const std::string& path,
                                                            const nlohmann::json& request,
                                                            Shard shard);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& path() const { return path_; }
  // Where unfinished volumes lie.
  std::string work_path() const;
  // Whether the journal has the seed and its files are there with the size they had.
  bool IsDone(uint64_t seed) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Adds a finished volume to the journal, durably. `volume` has "seed" and "files": [{"name",
  // "bytes"}].
  absl::Status Record(const nlohmann::json& volume) ABSL_LOCKS_EXCLUDED(mutex_);
  // Removes what died processes left half-written of the volumes with seeds [begin, end), and
  // nothing of other shards.
  void RemoveLeftovers(uint64_t begin, uint64_t end) const;
  // Marks the manifest complete and removes the work folder.
  absl::Status Finish();

 private:
  OutputFolder(std::string path, nlohmann::json manifest, std::string suffix);
  absl::Status Lock();
  absl::Status CheckContent() const;
  absl::Status CheckManifest(const std::string& file) const;
  // Takes everything away again when nothing was fetched, so that a corrected command may use the
  // folder.
  void RemoveIfUnused() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status ReadJournal() ABSL_LOCKS_EXCLUDED(mutex_);
  std::string ManifestPath() const;
  std::string JournalPath() const;

  const std::string path_;
  nlohmann::json manifest_;
  const std::string suffix_;  // "" or "-3-of-8"
  int lock_fd_ = -1;
  bool locked_ = false;
  bool finished_ = false;

  mutable absl::Mutex mutex_;
  int journal_fd_ ABSL_GUARDED_BY(mutex_) = -1;
  std::set<uint64_t> done_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_OUTPUT_FOLDER_H_
