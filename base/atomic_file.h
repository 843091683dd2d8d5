// Files and folders that appear under their final name only when complete: written under a
// temporary name beside it, synced, then renamed.
//
// Not thread-safe. An object destroyed before Commit() removes what it wrote.
#ifndef SYNTHVOL_BASE_ATOMIC_FILE_H_
#define SYNTHVOL_BASE_ATOMIC_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace synthvol {

// A file being written; movable, owns its descriptor.
class AtomicFile {
 public:
  // Opens `path` + ".partial-PID-N" for writing. RESOURCE_EXHAUSTED for a full disk, otherwise
  // an error that names the path and the system's reason.
  static absl::StatusOr<AtomicFile> Create(const std::string& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Appends bytes, all or an error.
  absl::Status Append(std::string_view data);
  // Overwrites bytes at `offset`, for headers that are known last.
  absl::Status WriteAt(uint64_t offset, std::string_view data);
  // Syncs, closes and renames to the final name; syncs the folder.
  absl::Status Commit();

  const std::string& path() const { return path_; }
  const std::string& temporary_path() const { return temporary_path_; }

 private:
  AtomicFile(std::string path, std::string temporary_path, int fd);
  void Abandon();

  std::string path_;
  std::string temporary_path_;
  int fd_ = -1;
};

// A folder being filled; rename makes it appear whole.
class AtomicDirectory {
 public:
  // Makes a temporary sibling of `path`. ALREADY_EXISTS when `path` exists.
  static absl::StatusOr<AtomicDirectory> Create(const std::string& path);

  AtomicDirectory(AtomicDirectory&& other) noexcept;
  AtomicDirectory& operator=(AtomicDirectory&&) = delete;
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  ~AtomicDirectory();

  // Folder to write into until Commit().
  const std::string& temporary_path() const { return temporary_path_; }
  // Renames to the final name; syncs the parent.
  absl::Status Commit();

 private:
  AtomicDirectory(std::string path, std::string temporary_path);

  std::string path_;
  std::string temporary_path_;
};

// Writes `data` to `path` atomically.
absl::Status WriteFileAtomically(const std::string& path, std::string_view data);

// Reads a whole file of at most `max_bytes`; an error names the path.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes = 1ULL << 32);

}  // namespace synthvol

#endif  // SYNTHVOL_BASE_ATOMIC_FILE_H_
