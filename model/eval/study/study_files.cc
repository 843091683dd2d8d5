#include "model/eval/study/study_files.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/strict_json.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr size_t kMaxPairs = 10000;
constexpr size_t kMaxText = 200;

absl::Status Wrong(const std::string& where, const std::string& field, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", field, ": expected ", expected));
}

// Reads a short text; nothing when it is absent or something else.
std::optional<std::string> Text(const json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object.at(key).is_string()) {
    return std::nullopt;
  }
  auto text = object.at(key).get<std::string>();
  if (text.empty() || text.size() > kMaxText) return std::nullopt;
  return text;
}

absl::StatusOr<json> ParseRoot(const std::string& text, const std::string& where) {
  auto root = ParseStrictJson(text, where);
  if (!root.ok()) return root;
  if (!root->contains("format") || root->at("format") != kFormat) {
    return Wrong(where, "format", "1");
  }
  if (!Text(*root, "study")) return Wrong(where, "study", "the study's identifier");
  return root;
}

absl::StatusOr<json> ParseList(const json& root, const char* key, const std::string& where) {
  const json list = root.value(key, json());
  if (!list.is_array() || list.empty() || list.size() > kMaxPairs) {
    return Wrong(where, key, "a list of 1 to 10000 entries");
  }
  return list;
}

std::optional<StudyAnswer> ParseAnswer(const json& entry) {
  const auto pair = Text(entry, "pair");
  const auto chosen = Text(entry, "chosen");
  if (!pair || !chosen) return std::nullopt;
  StudyAnswer answer{*pair, *chosen, std::nullopt, 0};
  if (entry.contains("difficulty") && !entry.at("difficulty").is_null()) {
    if (!entry.at("difficulty").is_number_integer()) return std::nullopt;
    answer.difficulty = entry.at("difficulty").get<int64_t>();
    if (*answer.difficulty < 1 || *answer.difficulty > 5) return std::nullopt;
  }
  if (entry.contains("seconds") && entry.at("seconds").is_number()) {
    answer.seconds = entry.at("seconds").get<double>();
  }
  return answer;
}

}  // namespace

const char* ToString(StudyPart part) {
  return part == StudyPart::kRealOrSynthetic ? "real-or-synthetic" : "preference";
}

std::optional<StudyPart> ParseStudyPart(const std::string& text) {
  for (const StudyPart part : {StudyPart::kRealOrSynthetic, StudyPart::kPreference}) {
    if (text == ToString(part)) return part;
  }
  return std::nullopt;
}

const StudyPair* StudyKey::Find(const std::string& pair) const {
  const auto found = std::find_if(pairs.begin(), pairs.end(),
                                  [&](const StudyPair& candidate) { return candidate.id == pair; });
  return found == pairs.end() ? nullptr : &*found;
}

std::string ToJson(const StudyKey& key) {
  json pairs = json::array();
  for (const StudyPair& pair : key.pairs) {
    pairs.push_back({{"id", pair.id},
                     {"part", ToString(pair.part)},
                     {"first", pair.first},
                     {"second", pair.second}});
  }
  return json{{"format", kFormat}, {"study", key.study},
              {"seed", key.seed},  {"labels", {key.first_label, key.second_label}},
              {"pairs", pairs},    {"volumes", key.volumes}}
             .dump(2) +
         "\n";
}

absl::StatusOr<StudyKey> ParseStudyKey(const std::string& text, const std::string& where) {
  const auto root = ParseRoot(text, where);
  if (!root.ok()) return root.status();
  StudyKey key;
  key.study = *Text(*root, "study");
  const json labels = root->value("labels", json());
  if (!labels.is_array() || labels.size() != 2 || !labels[0].is_string() ||
      !labels[1].is_string()) {
    return Wrong(where, "labels", "the names of the two generators");
  }
  key.first_label = labels[0].get<std::string>();
  key.second_label = labels[1].get<std::string>();
  const auto pairs = ParseList(*root, "pairs", where);
  if (!pairs.ok()) return pairs.status();
  for (const json& entry : *pairs) {
    const auto id = Text(entry, "id");
    const auto part = ParseStudyPart(Text(entry, "part").value_or(""));
    const auto first = Text(entry, "first");
    const auto second = Text(entry, "second");
    if (!id || !part || !first || !second || key.Find(*id) != nullptr) {
      return Wrong(where, "pairs", "objects with a unique id, part, first and second");
    }
    key.pairs.push_back({*id, *part, *first, *second});
  }
  return key;
}

absl::StatusOr<StudyAnswers> ParseStudyAnswers(const std::string& text, const std::string& where) {
  const auto root = ParseRoot(text, where);
  if (!root.ok()) return root.status();
  StudyAnswers answers;
  answers.study = *Text(*root, "study");
  const auto reader = Text(*root, "reader");
  if (!reader) return Wrong(where, "reader", "who answered, at most 200 characters");
  answers.reader = *reader;
  const auto list = ParseList(*root, "answers", where);
  if (!list.ok()) return list.status();
  std::set<std::string> seen;
  for (const json& entry : *list) {
    const auto answer = ParseAnswer(entry);
    if (!answer || !seen.insert(answer->pair).second) {
      return Wrong(where, "answers",
                   "objects with a unique pair, the chosen volume, and a difficulty of 1 to 5");
    }
    answers.answers.push_back(*answer);
  }
  return answers;
}

}  // namespace synthvol::model
