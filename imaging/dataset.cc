#include "imaging/dataset.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "base/checksum.h"
#include "imaging/npy.h"

namespace synthvol::imaging {
namespace {

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 30;

absl::Status CannotOpen(const std::string& path, int error) {
  const std::string message = absl::StrCat(path, ": cannot open: ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InternalError(message);
}

}  // namespace

const char* ToString(Split split) { return split == Split::kTrain ? "train" : "validation"; }

int64_t DatasetManifest::Count(Split split) const {
  int64_t count = 0;
  for (const DatasetItem& item : items) count += item.split == split ? 1 : 0;
  return count;
}

std::string ManifestPath(const std::string& dir) { return dir + "/manifest.json"; }

absl::StatusOr<DatasetManifest> ReadManifest(const std::string& dir) {
  const std::string path = ManifestPath(dir);
  absl::StatusOr<std::string> text = ReadFile(path, kMaxManifestBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(path, ": not there; expected a data set that synthvol-prepare finished"));
  }
  if (!text.ok()) return text.status();
  return ParseManifest(*text, path);
}

absl::Status WriteManifest(const std::string& dir, const DatasetManifest& manifest) {
  return WriteFileAtomically(ManifestPath(dir), ToJson(manifest));
}

absl::StatusOr<std::string> ManifestDigest(const std::string& dir) {
  return Sha256HexOfFile(ManifestPath(dir));
}

MappedVolume::MappedVolume(void* base, size_t bytes, absl::Span<const int16_t> voxels)
    : base_(base), bytes_(bytes), voxels_(voxels) {}

MappedVolume::MappedVolume(MappedVolume&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      voxels_(std::exchange(other.voxels_, {})) {}

MappedVolume& MappedVolume::operator=(MappedVolume&& other) noexcept {
  if (this != &other) {
    Unmap();
    base_ = std::exchange(other.base_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    voxels_ = std::exchange(other.voxels_, {});
  }
  return *this;
}

MappedVolume::~MappedVolume() { Unmap(); }

void MappedVolume::Unmap() {
  if (base_ != nullptr) munmap(base_, bytes_);
  base_ = nullptr;
}

absl::StatusOr<MappedVolume> MappedVolume::Open(const std::string& path, int64_t size) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CannotOpen(path, errno);
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": empty or no file; expected an .npy"));
  }
  const auto bytes = static_cast<size_t>(info.st_size);
  void* base = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);
  if (base == MAP_FAILED) return CannotOpen(path, error);
  // From here on the destructor unmaps.
  MappedVolume volume(base, bytes, {});

  const std::string_view view(static_cast<const char*>(base), bytes);
  const absl::StatusOr<NpyHeader> header = ParseNpyHeader(view.substr(0, 1 << 16), path);
  if (!header.ok()) return header.status();
  if (header->type != VoxelType::kInt16 ||
      header->shape != std::vector<int64_t>{size, size, size}) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": wrong type or shape; expected int16 [",
                                                   size, ", ", size, ", ", size, "]"));
  }
  const uint64_t expected = header->data_offset + static_cast<uint64_t>(size * size * size) * 2;
  if (bytes != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", bytes, " bytes; its header announces ", expected));
  }
  // numpy pads to 64 (older ones to 16) bytes; an odd offset would make every access unaligned.
  if (header->data_offset % sizeof(int16_t) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": voxels are not aligned"));
  }
  const auto* voxels =
      reinterpret_cast<const int16_t*>(static_cast<const char*>(base) + header->data_offset);
  volume.voxels_ = absl::MakeConstSpan(voxels, static_cast<size_t>(size * size * size));
  return volume;
}

}  // namespace synthvol::imaging
