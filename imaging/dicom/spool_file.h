// A temporary file without a name: it goes with the process. Private to imaging/dicom.
//
// Thread-compatible. Owns its descriptor.
#ifndef SYNTHVOL_IMAGING_DICOM_SPOOL_FILE_H_
#define SYNTHVOL_IMAGING_DICOM_SPOOL_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace synthvol::imaging::dicom {

class SpoolFile {
 public:
  // Makes one in TMPDIR, or /tmp. RESOURCE_EXHAUSTED when there is no room.
  static absl::StatusOr<SpoolFile> Create();

  SpoolFile(SpoolFile&& other) noexcept;
  SpoolFile& operator=(SpoolFile&&) = delete;
  SpoolFile(const SpoolFile&) = delete;
  SpoolFile& operator=(const SpoolFile&) = delete;
  ~SpoolFile();

  // Appends bytes, all or an error.
  absl::Status Append(std::string_view bytes);
  // Reads up to `size` bytes from `offset`; returns how many, -1 for an error.
  ssize_t ReadAt(uint64_t offset, char* buffer, size_t size) const;
  uint64_t size() const { return size_; }

 private:
  explicit SpoolFile(int fd) : fd_(fd) {}

  int fd_;
  uint64_t size_ = 0;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_SPOOL_FILE_H_
