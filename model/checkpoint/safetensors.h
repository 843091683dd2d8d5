// The safetensors format: an 8-byte little-endian header length, a JSON header, raw tensors.
// Files of Python's `safetensors` are read and written bit for bit. Torch-free.
//
// A SafetensorsFile maps its file read-only and owns the mapping; spans live as long as it does.
// Concurrent reads are safe.
#ifndef SYNTHVOL_MODEL_CHECKPOINT_SAFETENSORS_H_
#define SYNTHVOL_MODEL_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace synthvol::model {

enum class DType { kF32, kF16, kBF16, kF64, kI64, kI32, kU8, kBool };

// Returns the format's name, e.g. "F32".
const char* ToString(DType dtype);
// Returns bytes an element.
int64_t SizeOf(DType dtype);

// A tensor to write: the bytes are row-major, little-endian and outlive the call.
struct NamedTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::string_view bytes;
};

class SafetensorsFile {
 public:
  struct Entry {
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;
    std::string_view bytes;
  };

  // Maps and checks the file: header length, JSON, unique names, known dtypes, sizes that agree
  // with shapes, offsets inside the file that neither overlap nor leave gaps. Errors name `path`.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::map<std::string, Entry>& tensors() const;
  const std::map<std::string, std::string>& metadata() const;
  const std::string& path() const;

  // Finds a float32 tensor of exactly this shape. NOT_FOUND or INVALID_ARGUMENT name tensor and
  // file.
  absl::StatusOr<absl::Span<const float>> Floats(const std::string& name,
                                                 const std::vector<int64_t>& shape) const;

 private:
  struct Mapping;
  explicit SafetensorsFile(std::unique_ptr<Mapping> mapping);
  std::unique_ptr<Mapping> mapping_;
};

// Writes `path` atomically; tensors in the given order, data aligned to 64 bytes... see docs.
absl::Status WriteSafetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_CHECKPOINT_SAFETENSORS_H_
