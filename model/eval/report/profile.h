// Speed and memory of training, as `synthvol-train profile --json` measures them, for the report.
//
// Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_REPORT_PROFILE_H_
#define SYNTHVOL_MODEL_EVAL_REPORT_PROFILE_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace synthvol::model {

// Parses and checks an array of cells: {"arch", "size", "batch_size", "threads", "device",
// "parameters", "seconds_per_iteration", "peak_bytes", ...}, one for each architecture and
// batch size. INVALID_ARGUMENT names `where` and the field. Hostile text is safe.
absl::StatusOr<nlohmann::json> ParseProfile(const std::string& text, const std::string& where);

// Renders parsed cells as HTML: one table for each size and machine setting, a column for each
// architecture and, for two of them, one with their ratio.
std::string ProfileTables(const nlohmann::json& cells);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_REPORT_PROFILE_H_
