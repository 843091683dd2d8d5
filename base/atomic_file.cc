#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace synthvol {
namespace {

namespace fs = std::filesystem;

std::string TemporaryName(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return absl::StrCat(path, ".partial-", getpid(), "-", counter.fetch_add(1));
}

absl::Status SystemError(const std::string& path, const char* action, int error) {
  const std::string message = absl::StrCat(path, ": ", action, ": ", std::strerror(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case EEXIST:
    case ENOTEMPTY:
      return absl::AlreadyExistsError(message);
    default:
      return absl::InternalError(message);
  }
}

// Makes a rename durable: the entry lives in the parent folder.
void SyncParent(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  const int fd = open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

}  // namespace

AtomicFile::AtomicFile(std::string path, std::string temporary_path, int fd)
    : path_(std::move(path)), temporary_path_(std::move(temporary_path)), fd_(fd) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_path_(std::move(other.temporary_path_)),
      fd_(std::exchange(other.fd_, -1)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this != &other) {
    Abandon();
    path_ = std::move(other.path_);
    temporary_path_ = std::move(other.temporary_path_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

AtomicFile::~AtomicFile() { Abandon(); }

void AtomicFile::Abandon() {
  if (fd_ < 0) return;
  close(std::exchange(fd_, -1));
  unlink(temporary_path_.c_str());
}

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::string& path) {
  std::string temporary = TemporaryName(path);
  const int fd = open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(path, "cannot create", errno);
  return AtomicFile(path, std::move(temporary), fd);
}

absl::Status AtomicFile::Append(std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(fd_, data.data(), data.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return SystemError(path_, "cannot write", errno);
    }
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::WriteAt(uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return SystemError(path_, "cannot write", errno);
    }
    offset += static_cast<uint64_t>(written);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  if (fsync(fd_) != 0) return SystemError(path_, "cannot sync", errno);
  if (close(std::exchange(fd_, -1)) != 0) {
    const int error = errno;
    unlink(temporary_path_.c_str());
    return SystemError(path_, "cannot close", error);
  }
  if (rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    unlink(temporary_path_.c_str());
    return SystemError(path_, "cannot rename into place", error);
  }
  SyncParent(path_);
  return absl::OkStatus();
}

AtomicDirectory::AtomicDirectory(std::string path, std::string temporary_path)
    : path_(std::move(path)), temporary_path_(std::move(temporary_path)) {}

AtomicDirectory::AtomicDirectory(AtomicDirectory&& other) noexcept
    : path_(std::move(other.path_)), temporary_path_(std::exchange(other.temporary_path_, "")) {}

AtomicDirectory::~AtomicDirectory() {
  if (temporary_path_.empty()) return;
  std::error_code ignored;
  fs::remove_all(temporary_path_, ignored);
}

absl::StatusOr<AtomicDirectory> AtomicDirectory::Create(const std::string& path) {
  std::string clean = path;
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  std::error_code error;
  if (fs::exists(clean, error)) {
    return absl::AlreadyExistsError(absl::StrCat(clean, ": exists already"));
  }
  std::string temporary = TemporaryName(clean);
  if (mkdir(temporary.c_str(), 0755) != 0) return SystemError(clean, "cannot create", errno);
  return AtomicDirectory(std::move(clean), std::move(temporary));
}

absl::Status AtomicDirectory::Commit() {
  SyncParent(temporary_path_ + "/.");
  if (rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    return SystemError(path_, "cannot rename into place", errno);
  }
  temporary_path_.clear();
  SyncParent(path_);
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view data) {
  absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = file->Append(data); !status.ok()) return status;
  return file->Commit();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  std::string data;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int error = errno;
      close(fd);
      return SystemError(path, "cannot read", error);
    }
    if (count == 0) break;
    if (data.size() + static_cast<size_t>(count) > max_bytes) {
      close(fd);
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": larger than the ", max_bytes, " bytes expected at most"));
    }
    data.append(buffer, static_cast<size_t>(count));
  }
  close(fd);
  return data;
}

}  // namespace synthvol
