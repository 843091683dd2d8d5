// What an evaluation (the JSON of `synthvol-eval report --gate`) says about one checkpoint: whether
// it may serve, and what an export writes beside its weights. Torch-free, so that exporting needs
// no evaluation code.
//
// Plain values and pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_GATE_EVALUATION_RECORD_H_
#define SYNTHVOL_MODEL_EVAL_GATE_EVALUATION_RECORD_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"

namespace synthvol::model {

// ModelConfig::provenance["gate"].
inline constexpr const char* kGatePassed = "passed";
inline constexpr const char* kGateFailed = "failed";
inline constexpr const char* kGateNotEvaluated = "not evaluated";

struct EvaluationRecord {
  bool passed = false;
  // One line, e.g. "diversity.excess 0.41 (at most 0.2): FAILED; memorisation.copies 0 (at most
  // 0)".
  std::string checks;
  // Which volumes were measured, by what, when.
  std::string sample;
  std::string extractor;
  std::string time;
  // Of the evaluation's text.
  std::string sha256;
  // The ranges that the plausibility gate used (PlausibilityRanges::ToJson).
  std::string plausibility_json;
};

// Finds the evaluation of the checkpoint `digest` (Checkpoint::digest) in a report's JSON; `where`
// names the file in errors. INVALID_ARGUMENT when this is no such file, FAILED_PRECONDITION when it
// measured other weights or was made without thresholds. Hostile text is safe.
absl::StatusOr<EvaluationRecord> ParseEvaluation(const std::string& json, const std::string& digest,
                                                 const std::string& where);

// Writes the record into `config`: provenance "gate", "gate_checks" and "evaluation_*", and the
// ranges where the checkpoint has none of its own.
void Record(const EvaluationRecord& record, ModelConfig& config);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_GATE_EVALUATION_RECORD_H_
