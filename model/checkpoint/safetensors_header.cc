#include "model/checkpoint/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/strict_json.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

struct DTypeFacts {
  DType dtype;
  const char* name;
  int64_t bytes;
};

constexpr std::array<DTypeFacts, 8> kDTypes{{{DType::kF32, "F32", 4},
                                             {DType::kF16, "F16", 2},
                                             {DType::kBF16, "BF16", 2},
                                             {DType::kF64, "F64", 8},
                                             {DType::kI64, "I64", 8},
                                             {DType::kI32, "I32", 4},
                                             {DType::kU8, "U8", 1},
                                             {DType::kBool, "BOOL", 1}}};

const DTypeFacts& FactsOf(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

absl::Status Bad(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

std::optional<DType> FindDType(const json& value) {
  if (!value.is_string()) return std::nullopt;
  for (const DTypeFacts& facts : kDTypes) {
    if (value.get_ref<const std::string&>() == facts.name) return facts.dtype;
  }
  return std::nullopt;
}

// Reads an array of whole numbers that are not negative and fit int64.
std::optional<std::vector<int64_t>> ReadCounts(const json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int64_t> counts;
  for (const json& item : value) {
    if (!item.is_number_unsigned()) return std::nullopt;
    const auto number = item.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    counts.push_back(static_cast<int64_t>(number));
  }
  return counts;
}

// Returns the bytes of a shape, nothing on overflow.
std::optional<int64_t> BytesOf(const std::vector<int64_t>& shape, DType dtype) {
  int64_t bytes = SizeOf(dtype);
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes;
}

absl::StatusOr<SafetensorsFile::Entry> ReadEntry(const json& value, const std::string& name,
                                                 std::string_view data, const std::string& where) {
  const std::string tensor = absl::StrCat("tensor '", name, "'");
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    return Bad(where, absl::StrCat(tensor, " needs exactly dtype, shape and data_offsets"));
  }
  const auto dtype = FindDType(value["dtype"]);
  if (!dtype) {
    return Bad(where, absl::StrCat(tensor, " has an unknown dtype (known: F32 F16 BF16 F64 I64 ",
                                   "I32 U8 BOOL)"));
  }
  const auto shape = ReadCounts(value["shape"]);
  if (!shape) return Bad(where, absl::StrCat(tensor, " has a shape that is not a list of sizes"));
  const auto offsets = ReadCounts(value["data_offsets"]);
  if (!offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
    return Bad(where, absl::StrCat(tensor, " has data_offsets that are not [begin, end]"));
  }
  if (static_cast<uint64_t>((*offsets)[1]) > data.size()) {
    return Bad(where,
               absl::StrCat(tensor, " ends at byte ", (*offsets)[1], " of the data, which has ",
                            data.size(), " (a truncated file?)"));
  }
  const int64_t length = (*offsets)[1] - (*offsets)[0];
  if (BytesOf(*shape, *dtype) != length) {
    return Bad(where, absl::StrCat(tensor, " spans ", length, " bytes, which is not its shape"));
  }
  return SafetensorsFile::Entry{
      *dtype, *shape, data.substr(static_cast<size_t>((*offsets)[0]), static_cast<size_t>(length))};
}

absl::Status ReadMetadata(const json& value, const std::string& where,
                          std::map<std::string, std::string>& metadata) {
  if (!value.is_object()) return Bad(where, "__metadata__ is not an object");
  for (const auto& [key, item] : value.items()) {
    if (!item.is_string()) return Bad(where, "__metadata__ holds something that is not a string");
    metadata[key] = item.get<std::string>();
  }
  return absl::OkStatus();
}

// Checks that the tensors cover `data` from its first to its last byte, each byte once.
absl::Status CheckCoverage(const std::map<std::string, SafetensorsFile::Entry>& tensors,
                           std::string_view data, const std::string& where) {
  std::vector<std::pair<std::string_view, std::string_view>> spans;
  spans.reserve(tensors.size());
  for (const auto& [name, entry] : tensors) spans.emplace_back(entry.bytes, name);
  std::sort(spans.begin(), spans.end(), [](const auto& a, const auto& b) {
    return a.first.data() != b.first.data() ? a.first.data() < b.first.data()
                                            : a.first.size() < b.first.size();
  });
  const char* expected = data.data();
  for (const auto& [bytes, name] : spans) {
    if (bytes.data() != expected) {
      const char* problem = bytes.data() < expected ? "overlaps" : "leaves a gap after";
      return Bad(where, absl::StrCat("tensor '", absl::string_view(name.data(), name.size()), "' ",
                                     problem, " the tensor before it"));
    }
    expected = bytes.data() + bytes.size();
  }
  const auto covered = static_cast<size_t>(expected - data.data());
  if (covered != data.size()) {
    return Bad(where, absl::StrCat(data.size() - covered, " bytes follow the last tensor"));
  }
  return absl::OkStatus();
}

}  // namespace

const char* ToString(DType dtype) { return FactsOf(dtype).name; }

int64_t SizeOf(DType dtype) { return FactsOf(dtype).bytes; }

absl::StatusOr<SafetensorsContents> ParseSafetensors(std::string_view file,
                                                     const std::string& where) {
  if (file.size() < kSafetensorsPrefixBytes) {
    return Bad(where, "too short for a safetensors file (8 bytes of header length expected)");
  }
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kSafetensorsPrefixBytes; ++i) {
    header_bytes |= static_cast<uint64_t>(static_cast<unsigned char>(file[i])) << (8 * i);
  }
  file.remove_prefix(kSafetensorsPrefixBytes);
  if (header_bytes > kSafetensorsMaxHeaderBytes || header_bytes > file.size()) {
    return Bad(where, absl::StrCat("not a safetensors file, or truncated: a header of ",
                                   header_bytes, " bytes in ", file.size()));
  }
  const std::string_view header = file.substr(0, header_bytes);
  const std::string_view data = file.substr(header_bytes);
  if (header.empty() || header.front() != '{') {
    return Bad(where, "not a safetensors file: the header does not begin with '{'");
  }
  auto parsed = ParseStrictJson(header, where);
  if (!parsed.ok()) return parsed.status();

  SafetensorsContents contents;
  for (const auto& [name, value] : parsed->items()) {
    if (name == "__metadata__") {
      if (auto status = ReadMetadata(value, where, contents.metadata); !status.ok()) return status;
      continue;
    }
    auto entry = ReadEntry(value, name, data, where);
    if (!entry.ok()) return entry.status();
    contents.tensors.emplace(name, *std::move(entry));
  }
  if (auto status = CheckCoverage(contents.tensors, data, where); !status.ok()) return status;
  return contents;
}

}  // namespace synthvol::model
