#include "model/eval/gate/evaluation_record.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checksum.h"
#include "model/checkpoint/strict_json.h"
#include "model/eval/gate/plausibility.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

absl::Status Wrong(const std::string& where, const char* field, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", field, ": expected ", expected));
}

// Returns a member, or null where there is none.
const json& Member(const json& object, const char* key) {
  static const json none;
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::string Text(const json& object, const char* key) {
  const json& member = Member(object, key);
  return member.is_string() ? member.get<std::string>() : "";
}

// Says one check in words; empty when it has not the form of one.
std::string InWords(const json& check) {
  const json& value = Member(check, "value");
  const std::string figure = Text(check, "figure");
  if (figure.empty() || !Member(check, "passed").is_boolean()) return "";
  if (!value.is_number() && !value.is_null()) return "";
  std::vector<std::string> bounds;
  for (const auto& [key, words] : {std::pair{"min", "at least "}, std::pair{"max", "at most "}}) {
    const json& bound = Member(check, key);
    if (bound.is_number()) bounds.push_back(absl::StrCat(words, bound.get<double>()));
  }
  return absl::StrCat(
      figure, " ", value.is_null() ? "not measured" : absl::StrCat(value.get<double>()), " (",
      absl::StrJoin(bounds, ", "), ")", Member(check, "passed").get<bool>() ? "" : ": FAILED");
}

// Returns the part of a report that measured `digest`: its first generator is the report itself.
const json* FindGenerator(const json& report, const std::string& digest) {
  if (Text(report, "checkpoint_digest") == digest) return &report;
  for (const json& other : Member(report, "others")) {
    if (Text(other, "checkpoint_digest") == digest) return &other;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<EvaluationRecord> ParseEvaluation(const std::string& text, const std::string& digest,
                                                 const std::string& where) {
  const auto report = ParseStrictJson(text, where);
  if (!report.ok()) return report.status();
  if (!Member(*report, "provenance").is_object() || !Member(*report, "sample").is_string()) {
    return Wrong(where, "provenance and sample", "the JSON of synthvol-eval report");
  }
  const json* const generator = FindGenerator(*report, digest);
  if (generator == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, ": checkpoint_digest: expected an evaluation of the checkpoint ",
                     digest, "; this one measured other weights"));
  }
  const json& gate = Member(*generator, "gate");
  if (!gate.is_object()) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, ": gate: expected a report made with --gate thresholds.json"));
  }
  const json& checks = Member(gate, "checks");
  if (!Member(gate, "passed").is_boolean() || !checks.is_array() || checks.empty()) {
    return Wrong(where, "gate", "passed and checks");
  }
  EvaluationRecord record;
  record.passed = Member(gate, "passed").get<bool>();
  std::vector<std::string> words;
  bool all_passed = true;
  for (const json& check : checks) {
    words.push_back(InWords(check));
    if (words.back().empty()) return Wrong(where, "gate.checks", "figures with value and passed");
    all_passed = all_passed && Member(check, "passed").get<bool>();
  }
  if (all_passed != record.passed) return Wrong(where, "gate.passed", "what its checks say");
  record.checks = absl::StrJoin(words, "; ");
  record.sample = Text(*generator, "sample");
  const json& provenance = Member(*report, "provenance");
  record.extractor = Text(provenance, "extractor");
  record.time = Text(provenance, "time");
  record.sha256 = Sha256Hex(text);
  if (const json& ranges = Member(Member(*generator, "plausibility"), "ranges");
      !ranges.is_null()) {
    auto parsed = PlausibilityRanges::Parse(ranges.dump(), where + ": plausibility.ranges");
    if (!parsed.ok()) return parsed.status();
    record.plausibility_json = parsed->ToJson();
  }
  return record;
}

void Record(const EvaluationRecord& record, ModelConfig& config) {
  config.provenance["gate"] = record.passed ? kGatePassed : kGateFailed;
  config.provenance["gate_checks"] = record.checks;
  config.provenance["evaluation_sample"] = record.sample;
  config.provenance["evaluation_extractor"] = record.extractor;
  config.provenance["evaluation_time"] = record.time;
  config.provenance["evaluation_sha256"] = record.sha256;
  if (config.plausibility_json.empty()) config.plausibility_json = record.plausibility_json;
}

}  // namespace synthvol::model
