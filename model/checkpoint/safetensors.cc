#include "model/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/atomic_file.h"
#include "model/checkpoint/safetensors_header.h"

namespace synthvol::model {
namespace {

// The data begins at a multiple of this, so that float tensors of usual sizes are aligned for
// vector loads straight from the mapping.
constexpr uint64_t kDataAlignment = 64;

absl::Status SystemError(const std::string& path, const char* what) {
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": ", what));
}

}  // namespace

struct SafetensorsFile::Mapping {
  std::string path;
  void* address = nullptr;
  size_t size = 0;
  SafetensorsContents contents;

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (address != nullptr) munmap(address, size);
  }
};

SafetensorsFile::SafetensorsFile(std::unique_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return SystemError(path, "cannot open");
  auto mapping = std::make_unique<Mapping>();
  mapping->path = path;
  struct stat facts {};
  if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": a regular file is expected"));
  }
  mapping->size = static_cast<size_t>(facts.st_size);
  if (mapping->size > 0) {
    void* address = mmap(nullptr, mapping->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) {
      auto status = SystemError(path, "cannot map");
      close(fd);
      return status;
    }
    mapping->address = address;
  }
  close(fd);
  auto contents = ParseSafetensors(
      std::string_view(static_cast<const char*>(mapping->address), mapping->size), path);
  if (!contents.ok()) return contents.status();
  mapping->contents = *std::move(contents);
  return SafetensorsFile(std::move(mapping));
}

const std::map<std::string, SafetensorsFile::Entry>& SafetensorsFile::tensors() const {
  return mapping_->contents.tensors;
}

const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return mapping_->contents.metadata;
}

const std::string& SafetensorsFile::path() const { return mapping_->path; }

absl::StatusOr<absl::Span<const float>> SafetensorsFile::Floats(
    const std::string& name, const std::vector<int64_t>& shape) const {
  const auto found = tensors().find(name);
  if (found == tensors().end()) {
    return absl::NotFoundError(absl::StrCat(path(), ": no tensor '", name, "'"));
  }
  const Entry& entry = found->second;
  if (entry.dtype != DType::kF32 || entry.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        path(), ": tensor '", name, "' is ", ToString(entry.dtype), " [",
        absl::StrJoin(entry.shape, ", "), "], expected F32 [", absl::StrJoin(shape, ", "), "]"));
  }
  if (reinterpret_cast<uintptr_t>(entry.bytes.data()) % alignof(float) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        path(), ": tensor '", name, "' does not lie at a multiple of 4 bytes; save it again"));
  }
  return absl::Span<const float>(reinterpret_cast<const float*>(entry.bytes.data()),
                                 entry.bytes.size() / sizeof(float));
}

absl::Status WriteSafetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  std::set<std::string> names;
  for (const NamedTensor& tensor : tensors) {
    int64_t bytes = SizeOf(tensor.dtype);
    for (const int64_t extent : tensor.shape) bytes *= extent;
    if (bytes < 0 || static_cast<uint64_t>(bytes) != tensor.bytes.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor '", tensor.name, "' has ", tensor.bytes.size(), " bytes, its shape ", bytes));
    }
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor name '", tensor.name, "' is taken already"));
    }
    header[tensor.name] = {{"dtype", ToString(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  // The format lets spaces follow the header.
  while ((kSafetensorsPrefixBytes + text.size()) % kDataAlignment != 0) text.push_back(' ');
  std::string prefix;
  for (size_t i = 0; i < kSafetensorsPrefixBytes; ++i) {
    prefix.push_back(static_cast<char>((static_cast<uint64_t>(text.size()) >> (8 * i)) & 0xff));
  }

  auto file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  if (auto status = file->Append(prefix + text); !status.ok()) return status;
  for (const NamedTensor& tensor : tensors) {
    if (auto status = file->Append(tensor.bytes); !status.ok()) return status;
  }
  return file->Commit();
}

}  // namespace synthvol::model
