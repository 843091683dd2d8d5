#include "imaging/npy.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace synthvol::imaging {
namespace {

static_assert(std::endian::native == std::endian::little, "voxels are written as they lie");

constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);
constexpr uint64_t kAlignment = 64;
constexpr uint64_t kMaxHeaderBytes = 1 << 16;
constexpr int64_t kMaxElements = int64_t{1} << 40;
constexpr size_t kMaxDimensions = 4;

const char* Descriptor(VoxelType type) { return type == VoxelType::kInt16 ? "<i2" : "<f4"; }

// A reader over the header's text, a Python dict literal as numpy writes it.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  void SkipSpace() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n'))
      text_.remove_prefix(1);
  }
  bool Take(std::string_view token) {
    SkipSpace();
    if (text_.substr(0, token.size()) != token) return false;
    text_.remove_prefix(token.size());
    return true;
  }
  std::optional<std::string_view> QuotedString() {
    SkipSpace();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) return std::nullopt;
    const size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return value;
  }
  std::optional<int64_t> Integer() {
    SkipSpace();
    size_t digits = 0;
    int64_t value = 0;
    for (; digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9'; ++digits) {
      value = value * 10 + (text_[digits] - '0');
      if (value > kMaxElements) return std::nullopt;
    }
    if (digits == 0) return std::nullopt;
    text_.remove_prefix(digits);
    return value;
  }
  bool AtEnd() {
    SkipSpace();
    return text_.empty();
  }

 private:
  std::string_view text_;
};

std::optional<std::vector<int64_t>> ParseShape(Cursor& cursor) {
  std::vector<int64_t> shape;
  if (!cursor.Take("(")) return std::nullopt;
  while (!cursor.Take(")")) {
    const std::optional<int64_t> extent = cursor.Integer();
    if (!extent.has_value()) return std::nullopt;
    shape.push_back(*extent);
    if (!cursor.Take(",")) {
      if (!cursor.Take(")")) return std::nullopt;
      break;
    }
  }
  return shape;
}

absl::Status Bad(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

absl::Status ParseDictionary(std::string_view text, const std::string& where, NpyHeader* header) {
  Cursor cursor(text);
  const absl::Status broken = Bad(where,
                                  "damaged .npy header: expected a dict of descr, "
                                  "fortran_order and shape");
  std::optional<std::string_view> descriptor;
  std::optional<bool> fortran;
  std::optional<std::vector<int64_t>> shape;
  if (!cursor.Take("{")) return broken;
  while (!cursor.Take("}")) {
    const std::optional<std::string_view> key = cursor.QuotedString();
    if (!key.has_value() || !cursor.Take(":")) return broken;
    if (*key == "descr" && !descriptor.has_value()) {
      if (descriptor = cursor.QuotedString(); !descriptor.has_value()) return broken;
    } else if (*key == "fortran_order" && !fortran.has_value()) {
      fortran = cursor.Take("True");
      if (!*fortran && !cursor.Take("False")) return broken;
    } else if (*key == "shape" && !shape.has_value()) {
      if (shape = ParseShape(cursor); !shape.has_value()) return broken;
    } else {
      return broken;
    }
    if (!cursor.Take(",")) {
      if (!cursor.Take("}")) return broken;
      break;
    }
  }
  if (!cursor.AtEnd() || !descriptor || !fortran || !shape) return broken;
  if (*fortran) return Bad(where, "Fortran order; expected C order");
  if (*descriptor == "<i2") {
    header->type = VoxelType::kInt16;
  } else if (*descriptor == "<f4") {
    header->type = VoxelType::kFloat32;
  } else {
    return Bad(where, absl::StrCat("element type '",
                                   absl::string_view(descriptor->data(), descriptor->size()),
                                   "'; expected '<i2' (int16) or '<f4' (float32)"));
  }
  header->shape = *std::move(shape);
  return absl::OkStatus();
}

absl::Status CheckShape(const std::vector<int64_t>& shape, const std::string& where) {
  if (shape.size() > kMaxDimensions) {
    return Bad(where, absl::StrCat(shape.size(), " dimensions; expected at most ", kMaxDimensions));
  }
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent != 0 && count > (kMaxElements - 1) / extent) {
      return Bad(where, "expected fewer than 2^40 elements");
    }
    count *= extent;
  }
  return absl::OkStatus();
}

template <typename T>
absl::StatusOr<std::vector<T>> ReadElements(const std::string& path, VoxelType type,
                                            std::vector<int64_t>* shape) {
  absl::StatusOr<NpyHeader> header = ReadNpyHeader(path);
  if (!header.ok()) return header.status();
  if (header->type != type) {
    return Bad(path, absl::StrCat("element type '", Descriptor(header->type), "'; expected '",
                                  Descriptor(type), "'"));
  }
  std::vector<T> elements(static_cast<size_t>(header->ElementCount()));
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(header->data_offset));
  file.read(reinterpret_cast<char*>(elements.data()),
            static_cast<std::streamsize>(elements.size() * sizeof(T)));
  if (!file) return absl::DataLossError(absl::StrCat(path, ": cannot read the elements"));
  *shape = std::move(header->shape);
  return elements;
}

}  // namespace

int64_t NpyHeader::ElementCount() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string FormatNpyHeader(VoxelType type, absl::Span<const int64_t> shape) {
  std::string dictionary =
      absl::StrCat("{'descr': '", Descriptor(type), "', 'fortran_order': False, 'shape': (");
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    absl::StrAppend(&dictionary, shape[axis], axis + 1 < shape.size() ? ", " : "");
  }
  absl::StrAppend(&dictionary, shape.size() == 1 ? ",), }" : "), }");
  const uint64_t used = kMagic.size() + 2 + dictionary.size() + 1;
  dictionary.append((kAlignment - used % kAlignment) % kAlignment, ' ');
  dictionary.push_back('\n');
  const auto length = static_cast<uint16_t>(dictionary.size());
  std::string header(kMagic);
  header.push_back(static_cast<char>(length & 0xff));
  header.push_back(static_cast<char>(length >> 8));
  return header + dictionary;
}

absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view prefix, const std::string& where) {
  constexpr size_t kFront = kMagic.size() + 2;
  if (prefix.size() < kFront) return Bad(where, "too short for a .npy file");
  if (prefix.substr(0, 6) != kMagic.substr(0, 6)) return Bad(where, "not a .npy file");
  if (prefix.substr(0, kMagic.size()) != kMagic) {
    return Bad(where, absl::StrCat(".npy version ", static_cast<int>(prefix[6]), ".",
                                   static_cast<int>(prefix[7]), "; expected 1.0"));
  }
  const auto byte = [&](size_t at) {
    return static_cast<size_t>(static_cast<uint8_t>(prefix[at]));
  };
  const size_t length = byte(8) | (byte(9) << 8);
  if (prefix.size() < kFront + length) return Bad(where, "truncated .npy header");
  NpyHeader header;
  header.data_offset = kFront + length;
  if (absl::Status status = ParseDictionary(prefix.substr(kFront, length), where, &header);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckShape(header.shape, where); !status.ok()) return status;
  return header;
}

absl::StatusOr<NpyHeader> ReadNpyHeader(const std::string& path) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
  }
  std::string prefix(std::min<uint64_t>(bytes, kMaxHeaderBytes), '\0');
  file.read(prefix.data(), static_cast<std::streamsize>(prefix.size()));
  prefix.resize(static_cast<size_t>(file.gcount()));
  absl::StatusOr<NpyHeader> header = ParseNpyHeader(prefix, path);
  if (!header.ok()) return header;
  const uint64_t expected =
      header->data_offset + static_cast<uint64_t>(header->ElementCount() * SizeOf(header->type));
  if (bytes != expected) {
    return Bad(path, absl::StrCat(bytes, " bytes; its header announces ", expected));
  }
  return header;
}

absl::StatusOr<std::vector<int16_t>> ReadNpyInt16(const std::string& path,
                                                  std::vector<int64_t>* shape) {
  return ReadElements<int16_t>(path, VoxelType::kInt16, shape);
}

absl::StatusOr<std::vector<float>> ReadNpyFloat32(const std::string& path,
                                                  std::vector<int64_t>* shape) {
  return ReadElements<float>(path, VoxelType::kFloat32, shape);
}

NpyWriter::NpyWriter(AtomicFile file, VoxelType type, int64_t missing)
    : file_(std::move(file)), type_(type), missing_(missing) {}

absl::StatusOr<NpyWriter> NpyWriter::Create(const std::string& path, VoxelType type,
                                            absl::Span<const int64_t> shape) {
  NpyHeader header{type, {shape.begin(), shape.end()}, 0};
  if (absl::Status status = CheckShape(header.shape, path); !status.ok()) return status;
  absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = file->Append(FormatNpyHeader(type, shape)); !status.ok()) return status;
  return NpyWriter(*std::move(file), type, header.ElementCount());
}

absl::Status NpyWriter::AppendBytes(VoxelType type, std::string_view bytes) {
  if (type != type_) {
    return Bad(file_.path(), absl::StrCat("elements of type '", Descriptor(type), "'; expected '",
                                          Descriptor(type_), "'"));
  }
  const int64_t count = static_cast<int64_t>(bytes.size()) / SizeOf(type);
  if (count > missing_) {
    return Bad(file_.path(), absl::StrCat(count, " more elements; ", missing_, " expected"));
  }
  missing_ -= count;
  return file_.Append(bytes);
}

absl::Status NpyWriter::Append(absl::Span<const int16_t> elements) {
  return AppendBytes(VoxelType::kInt16, {reinterpret_cast<const char*>(elements.data()),
                                         elements.size() * sizeof(int16_t)});
}

absl::Status NpyWriter::Append(absl::Span<const float> elements) {
  return AppendBytes(VoxelType::kFloat32, {reinterpret_cast<const char*>(elements.data()),
                                           elements.size() * sizeof(float)});
}

absl::Status NpyWriter::Commit() {
  if (missing_ != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(file_.path(), ": ", missing_, " elements are missing"));
  }
  return file_.Commit();
}

}  // namespace synthvol::imaging
