// The files of a reader study: what the page reads, the key that stays with the organiser, and the
// answers that readers send back.
//
// Plain values and pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STUDY_STUDY_FILES_H_
#define SYNTHVOL_MODEL_EVAL_STUDY_STUDY_FILES_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace synthvol::model {

// Part 1: which of the two is the real scan, with a difficulty from 1 to 5. Part 2: which of two
// generators' volumes looks more like a real scan.
enum class StudyPart { kRealOrSynthetic, kPreference };

// Returns "real-or-synthetic" or "preference".
const char* ToString(StudyPart part);
std::optional<StudyPart> ParseStudyPart(const std::string& text);

// Two volumes under comparison, in the key's order; the page shuffles pairs and sides per reader.
struct StudyPair {
  std::string id;
  StudyPart part = StudyPart::kRealOrSynthetic;
  // Real and synthetic, or first and second generator. Opaque identifiers.
  std::string first;
  std::string second;
};

// What each volume really is: kept outside the folder that readers get.
struct StudyKey {
  std::string study;
  // What "first" and "second" of part 2 are called in the analysis.
  std::string first_label;
  std::string second_label;
  std::vector<StudyPair> pairs;
  // Opaque identifier to "SOURCE: NAME".
  std::map<std::string, std::string> volumes;
  uint64_t seed = 0;

  const StudyPair* Find(const std::string& pair) const;
};

// One reader's choice in one pair.
struct StudyAnswer {
  std::string pair;
  std::string chosen;
  // 1 (easy) to 5 (hard); part 1 only.
  std::optional<int64_t> difficulty;
  double seconds = 0;
};

struct StudyAnswers {
  std::string study;
  std::string reader;
  std::vector<StudyAnswer> answers;
};

// Writes the key as JSON.
std::string ToJson(const StudyKey& key);
// Parse; INVALID_ARGUMENT names `where` and the field. Hostile text is safe.
absl::StatusOr<StudyKey> ParseStudyKey(const std::string& text, const std::string& where);
absl::StatusOr<StudyAnswers> ParseStudyAnswers(const std::string& text, const std::string& where);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STUDY_STUDY_FILES_H_
