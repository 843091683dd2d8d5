#include "client/cli/slice_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/atomic_file.h"
#include "base/checksum.h"

namespace synthvol::client {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargestSliceFile = 1ULL << 33;

absl::Status SystemError(const std::string& path, const char* action) {
  const std::string message = absl::StrCat(path, ": ", action, ": ", std::strerror(errno));
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
    return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

absl::Status WriteAll(int fd, std::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(path, "cannot write");
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> OpenAt(const std::string& path, uint64_t size) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(path, "cannot open");
  if (ftruncate(fd, static_cast<off_t>(size)) != 0 || lseek(fd, 0, SEEK_END) < 0) {
    const absl::Status status = SystemError(path, "cannot truncate");
    close(fd);
    return status;
  }
  return fd;
}

void CloseAndForget(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

std::string IndexLine(const StoredSlice& slice) {
  return absl::StrFormat("%08x %d %s\n", slice.crc32c, slice.bytes,
                         slice.file_name.empty() ? "-" : slice.file_name);
}

std::vector<StoredSlice> ParseIndex(const std::string& text) {
  std::vector<StoredSlice> slices;
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n');
  for (const auto line : absl::StrSplit(text.substr(0, whole), '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    StoredSlice slice;
    if (fields.size() != 3 || !absl::SimpleHexAtoi(fields[0], &slice.crc32c) ||
        !absl::SimpleAtoi(fields[1], &slice.bytes)) {
      break;
    }
    if (fields[2] != "-") slice.file_name = fields[2];
    slices.push_back(std::move(slice));
  }
  return slices;
}

}  // namespace

SliceStore::SliceStore(const std::string& folder, const std::string& stem)
    : base_(absl::StrCat(folder, "/", stem)) {
  Recover();
}

SliceStore::~SliceStore() {
  CloseAndForget(data_fd_);
  CloseAndForget(index_fd_);
}

uint64_t SliceStore::SliceBytes() const {
  return header_->total_bytes() / static_cast<uint64_t>(header_->geometry().size(2));
}

void SliceStore::Recover() {
  const absl::StatusOr<std::string> header = ReadFile(base_ + ".header", 1 << 20);
  const absl::StatusOr<std::string> index = ReadFile(base_ + ".index", 1 << 24);
  v1::VolumeHeader parsed;
  if (!header.ok() || !index.ok() || !parsed.ParseFromString(*header) ||
      parsed.geometry().size_size() != 3 || parsed.geometry().size(2) < 1) {
    return;
  }
  header_ = std::move(parsed);
  const int data = dicom() ? -1 : open(data_path().c_str(), O_RDONLY | O_CLOEXEC);
  std::string buffer;
  for (const StoredSlice& slice : ParseIndex(*index)) {
    if (dicom()) {
      absl::StatusOr<std::string> file =
          ReadFile(absl::StrCat(files_path(), "/", slice.file_name), kLargestSliceFile);
      if (!file.ok()) break;
      buffer = *std::move(file);
    } else {
      if (data < 0 || slice.bytes != SliceBytes()) break;
      buffer.resize(slice.bytes);
      if (read(data, buffer.data(), buffer.size()) != static_cast<ssize_t>(buffer.size())) break;
    }
    if (buffer.size() != slice.bytes || Crc32c(buffer) != slice.crc32c) break;
    slices_.push_back(slice);
  }
  if (data >= 0) close(data);
}

absl::Status SliceStore::Open() {
  CloseAndForget(data_fd_);
  CloseAndForget(index_fd_);
  std::string index;
  uint64_t bytes = 0;
  for (const StoredSlice& slice : slices_) {
    absl::StrAppend(&index, IndexLine(slice));
    bytes += slice.bytes;
  }
  if (!dicom()) {
    absl::StatusOr<int> data = OpenAt(data_path(), bytes);
    if (!data.ok()) return data.status();
    data_fd_ = *data;
  } else {
    std::error_code error;
    fs::create_directories(files_path(), error);
    if (error)
      return absl::InternalError(absl::StrCat(files_path(), ": cannot create: ", error.message()));
  }
  absl::StatusOr<int> opened = OpenAt(base_ + ".index", 0);
  if (!opened.ok()) return opened.status();
  index_fd_ = *opened;
  return WriteAll(index_fd_, index, base_ + ".index");
}

absl::Status SliceStore::Begin(const v1::VolumeHeader& header) {
  if (header.start_slice() > slices_.size()) {
    return absl::InternalError("the stream starts past the slices that are on disk");
  }
  header_ = header;
  if (dicom() && header.start_slice() == 0) {
    std::error_code ignored;
    fs::remove_all(files_path(), ignored);
  }
  slices_.resize(header.start_slice());
  pending_.clear();
  if (absl::Status status = WriteFileAtomically(base_ + ".header", header.SerializeAsString());
      !status.ok()) {
    return status;
  }
  return Open();
}

absl::Status SliceStore::Append(const VolumeData& data) {
  if (dicom()) {
    pending_.append(data.data);
    return data.last_of_file ? WriteSlice(std::string(data.file_name)) : absl::OkStatus();
  }
  std::string_view rest = data.data;
  while (!rest.empty()) {
    const size_t take = std::min<size_t>(rest.size(), SliceBytes() - pending_.size());
    pending_.append(rest.substr(0, take));
    rest.remove_prefix(take);
    if (pending_.size() < SliceBytes()) break;
    if (absl::Status status = WriteSlice(""); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SliceStore::WriteSlice(const std::string& file_name) {
  StoredSlice slice{Crc32c(pending_), pending_.size(), file_name};
  // The slice first, its record after: a record without its slice is found out by the CRC32C.
  absl::Status status;
  if (dicom()) {
    const std::string path = absl::StrCat(files_path(), "/", file_name);
    absl::StatusOr<int> file = OpenAt(path, 0);
    if (!file.ok()) return file.status();
    status = WriteAll(*file, pending_, path);
    close(*file);
  } else {
    status = WriteAll(data_fd_, pending_, data_path());
  }
  if (!status.ok()) return status;
  status = WriteAll(index_fd_, IndexLine(slice), base_ + ".index");
  if (!status.ok()) return status;
  slices_.push_back(std::move(slice));
  pending_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::string> SliceStore::Sha256Hex() const {
  if (!dicom()) return Sha256HexOfFile(data_path());
  Sha256 hash;
  for (const StoredSlice& slice : slices_) {
    absl::StatusOr<std::string> file =
        ReadFile(absl::StrCat(files_path(), "/", slice.file_name), kLargestSliceFile);
    if (!file.ok()) return file.status();
    hash.Update(*file);
  }
  return absl::BytesToHexString(hash.Finish());
}

absl::Status SliceStore::Sync() {
  if (!dicom()) return absl::OkStatus();  // the final file is written anew, and synced there
  const int folder = open(files_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return SystemError(files_path(), "cannot open");
  // One call for hundreds of small files.
  const bool fine = syncfs(folder) == 0;
  absl::Status status = fine ? absl::OkStatus() : SystemError(files_path(), "cannot sync");
  close(folder);
  return status;
}

void SliceStore::Remove() {
  CloseAndForget(data_fd_);
  CloseAndForget(index_fd_);
  std::error_code ignored;
  // The header last: by it a later run finds what a process that dies here leaves.
  for (const char* extension : {".files", ".data", ".index", ".header"}) {
    fs::remove_all(base_ + extension, ignored);
  }
  header_.reset();
  slices_.clear();
}

}  // namespace synthvol::client
