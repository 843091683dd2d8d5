// The figures of an evaluation as JSON (for machines) and as lines (for people). Every figure says
// how many volumes it is from, and which extractor computed the features.
//
// Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_FIGURES_H_
#define SYNTHVOL_MODEL_EVAL_FIGURES_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/eval/sample.h"
#include "model/eval/statistics/memorisation.h"
#include "model/eval/statistics/resampling.h"

namespace synthvol::model {

// Computes the Fréchet distance: value, mean_term, covariance_term, interval, counts, extractor.
absl::StatusOr<nlohmann::json> FidFigures(const Sample& real, const Sample& synthetic,
                                          const ResamplingOptions& options);
// Computes MMD: unbiased, biased, median_distance, interval, permutation_p, counts, extractor.
absl::StatusOr<nlohmann::json> MmdFigures(const Sample& real, const Sample& synthetic,
                                          const ResamplingOptions& options);
// ms_ssim mean, standard deviation, scales, pairs of a set; beside them the same of `real` when
// given, and `excess`: how much more alike generated volumes are than real ones.
nlohmann::json DiversityFigures(const Diversity& generated, const std::optional<Diversity>& real);
// Runs the copy test in both spaces; `passed` when neither finds a copy, `closest` lists the pairs
// whose distance is least in units of the threshold.
absl::StatusOr<nlohmann::json> MemorisationFigures(const Sample& generated, const Sample& training,
                                                   const Sample& held_out);
// Checks every volume: rejected, rejected_fraction, violations by figure, the figures' means, and
// the ranges.
nlohmann::json PlausibilityFigures(const Sample& sample, const PlausibilityRanges& ranges);

// Says an evaluation's figures in lines of plain words.
std::string InWords(const nlohmann::json& evaluation);
// Says which thresholds failed, and the verdict (CheckThresholds' result).
std::string GateInWords(const nlohmann::json& gate);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_FIGURES_H_
