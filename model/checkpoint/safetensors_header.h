// The JSON header of a safetensors file, apart from files and mappings so that tests and the fuzzer
// reach it directly. Free functions are pure and safe on hostile input.
#ifndef SYNTHVOL_MODEL_CHECKPOINT_SAFETENSORS_HEADER_H_
#define SYNTHVOL_MODEL_CHECKPOINT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/safetensors.h"

namespace synthvol::model {

// Bytes before the header: its length, little-endian.
inline constexpr uint64_t kSafetensorsPrefixBytes = 8;
// The longest header that is read: Python's `safetensors` has the same bound.
inline constexpr uint64_t kSafetensorsMaxHeaderBytes = 100'000'000;

struct SafetensorsContents {
  std::map<std::string, SafetensorsFile::Entry> tensors;
  std::map<std::string, std::string> metadata;
};

// Parses a whole file given as bytes; the entries point into `file`. INVALID_ARGUMENT says what is
// wrong and begins with `where`, the file's name.
absl::StatusOr<SafetensorsContents> ParseSafetensors(std::string_view file,
                                                     const std::string& where);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_CHECKPOINT_SAFETENSORS_HEADER_H_
