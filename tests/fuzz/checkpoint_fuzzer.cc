// libFuzzer target: safetensors, config.json and its plausibility ranges from strangers. Whatever
// the bytes, parsing ends with a value or a status; a value must be consistent. Built and run by
// tests/fuzz/run checkpoint.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/safetensors_header.h"
#include "model/eval/gate/plausibility.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void ParseTensors(std::string_view bytes) {
  const auto contents = synthvol::model::ParseSafetensors(bytes, "input");
  if (!contents.ok()) return;
  for (const auto& [name, entry] : contents->tensors) {
    int64_t expected = synthvol::model::SizeOf(entry.dtype);
    for (const int64_t extent : entry.shape) expected *= extent;
    Require(expected == static_cast<int64_t>(entry.bytes.size()));
    Require(entry.bytes.data() >= bytes.data());
    Require(entry.bytes.data() + entry.bytes.size() <= bytes.data() + bytes.size());
  }
}

void ParseConfig(std::string_view bytes) {
  const auto config = synthvol::model::ParseModelConfig(std::string(bytes), "input");
  if (!config.ok()) return;
  // What was read is valid and is read again as the same.
  Require(synthvol::model::Validate(*config).ok());
  const std::string text = synthvol::model::ToJson(*config);
  const auto again = synthvol::model::ParseModelConfig(text, "again");
  Require(again.ok() && synthvol::model::ToJson(*again) == text);
}

void ParseRanges(std::string_view bytes) {
  const auto ranges = synthvol::model::PlausibilityRanges::Parse(std::string(bytes), "input");
  if (!ranges.ok()) return;
  const std::string text = ranges->ToJson();
  const auto again = synthvol::model::PlausibilityRanges::Parse(text, "again");
  Require(again.ok() && again->ToJson() == text);
  // Nothing was measured, which no range accepts.
  Require(!ranges->Check(ranges->MakeMeter(4).Finish()).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ParseTensors(bytes);
  ParseConfig(bytes);
  ParseRanges(bytes);
  // Headers without the fuzzer having to guess their length.
  if (size < 4096) {
    std::string file(8, '\0');
    file[0] = static_cast<char>(size & 0xff);
    file[1] = static_cast<char>(size >> 8);
    file.append(bytes);
    file.append(16, '\0');
    ParseTensors(file);
  }
  return 0;
}
