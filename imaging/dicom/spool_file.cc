#include "imaging/dicom/spool_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace synthvol::imaging::dicom {
namespace {

std::string Folder() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

absl::Status Failed(int error) {
  return absl::ResourceExhaustedError(absl::StrCat("cannot spool the request in ", Folder(), ": ",
                                                   std::strerror(error), "; set TMPDIR"));
}

}  // namespace

absl::StatusOr<SpoolFile> SpoolFile::Create() {
  std::string path = Folder() + "/synthvol-stow-XXXXXX";
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return Failed(errno);
  unlink(path.c_str());
  return SpoolFile(fd);
}

SpoolFile::SpoolFile(SpoolFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

SpoolFile::~SpoolFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status SpoolFile::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Failed(errno);
    size_ += static_cast<uint64_t>(written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

ssize_t SpoolFile::ReadAt(uint64_t offset, char* buffer, size_t size) const {
  ssize_t got = 0;
  do {
    got = pread(fd_, buffer, size, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  return got;
}

}  // namespace synthvol::imaging::dicom
