// The evaluation of one or two generators as one HTML file that needs nothing beside it, and as
// JSON.
//
// Free functions; EvaluateModels shows progress on stderr.
#ifndef SYNTHVOL_MODEL_EVAL_REPORT_REPORT_H_
#define SYNTHVOL_MODEL_EVAL_REPORT_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/eval/evaluator.h"

namespace synthvol::model {

struct ReportOptions {
  // What is evaluated; the thresholds judge every generator.
  EvaluatorOptions evaluator;
  std::string label = "generator";
  // A second generator to stand beside it; empty for none.
  std::string other;
  std::string other_label = "other";
  // JSON of `study analyze` and of `synthvol-train profile --json`; empty for none.
  std::string study;
  std::string profile;
};

// Everything that the page shows.
struct ReportData {
  // One evaluation a generator: {"label", "sample", "checkpoint_digest", "fid", "mmd", "diversity",
  // "memorisation", "plausibility", "gate"}; "gate" is null without thresholds.
  std::vector<nlohmann::json> models;
  // FID and MMD between training and held-out real volumes: what no difference looks like.
  nlohmann::json baseline;
  nlohmann::json provenance;
  nlohmann::json study;
  nlohmann::json profile;
  // Real, then each generator.
  std::vector<std::string> labels;
  std::vector<std::vector<double>> histograms;
  // PNG files' bytes: a montage for each of `labels`, and the closest pairs of each generator.
  std::vector<std::string> montages;
  std::vector<std::string> closest;
  double window_low = 0;
  double window_high = 0;
};

// Returns whether thresholds were given and a generator is outside of them.
bool AnyGateFailed(const ReportData& data);

// Measures everything. Errors as those of the figures.
absl::StatusOr<ReportData> EvaluateModels(const ReportOptions& options);

// Renders the page: inline SVG and PNG, no scripts, no links.
std::string ToHtml(const ReportData& data);
// Returns the same figures for machines: the first model's at the top, where thresholds look.
nlohmann::json ToJson(const ReportData& data);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_REPORT_REPORT_H_
