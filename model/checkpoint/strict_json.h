// JSON for files that strangers may have written: nlohmann::json, but without exceptions, with a
// depth limit, and with repeated keys refused instead of the last one winning.
#ifndef SYNTHVOL_MODEL_CHECKPOINT_STRICT_JSON_H_
#define SYNTHVOL_MODEL_CHECKPOINT_STRICT_JSON_H_

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace synthvol::model {

// Parses any value; `expected` names it in errors. INVALID_ARGUMENT begins with `where` and says
// what is wrong.
inline absl::StatusOr<nlohmann::json> ParseStrictJsonValue(std::string_view text,
                                                           const std::string& where,
                                                           const char* expected = "JSON value") {
  constexpr int kMaxDepth = 16;
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;
  std::string repeated;
  bool too_deep = false;
  const auto watch = [&](int depth, Event event, nlohmann::json& parsed) {
    if (depth > kMaxDepth) too_deep = true;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      repeated = parsed.get<std::string>();
    }
    return !too_deep;
  };
  nlohmann::json json = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  if (too_deep) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": JSON nested too deeply"));
  }
  if (json.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": not a ", expected));
  }
  if (!repeated.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": the key '", repeated, "' repeats"));
  }
  return json;
}

// Parses an object; errors as above.
inline absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text,
                                                      const std::string& where) {
  constexpr const char* kExpected = "JSON object";
  auto json = ParseStrictJsonValue(text, where, kExpected);
  if (json.ok() && !json->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": not a ", kExpected));
  }
  return json;
}

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_CHECKPOINT_STRICT_JSON_H_
