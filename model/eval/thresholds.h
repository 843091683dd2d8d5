// Whether a generator may serve: limits on the figures of an evaluation, from a file.
//   {"format": 1, "limits": {"fid.value": {"max": 80}, "memorisation.copies": {"max": 0}, ...}}
// A name is the path of a number in the evaluation's JSON. docs/evaluation.md lists them.
//
// Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_THRESHOLDS_H_
#define SYNTHVOL_MODEL_EVAL_THRESHOLDS_H_

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace synthvol::model {

struct Limit {
  std::string figure;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

// Parses a thresholds file's text; INVALID_ARGUMENT names `where` and the field.
absl::StatusOr<std::vector<Limit>> ParseThresholds(const std::string& text,
                                                   const std::string& where);

// Checks an evaluation: {"passed", "checks": [{"figure", "value", "min", "max", "passed",
// "reason"}]}. A figure that is missing or not a number fails, since nobody measured it.
nlohmann::json CheckThresholds(const nlohmann::json& evaluation, const std::vector<Limit>& limits);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_THRESHOLDS_H_
