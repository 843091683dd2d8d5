// What a reader study says. Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STUDY_ANALYZE_H_
#define SYNTHVOL_MODEL_EVAL_STUDY_ANALYZE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/eval/statistics/resampling.h"
#include "model/eval/study/study_files.h"

namespace synthvol::model {

// Scores the answers with the key. INVALID_ARGUMENT names an answer that does not fit the key
// (another study, an unknown pair or volume, a reader who appears twice).
absl::StatusOr<nlohmann::json> AnalyzeStudy(const StudyKey& key,
                                            const std::vector<StudyAnswers>& readers,
                                            const ResamplingOptions& options);

// Says the figures in sentences, each with the question that it answers.
std::string StudyInWords(const nlohmann::json& analysis);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STUDY_ANALYZE_H_
