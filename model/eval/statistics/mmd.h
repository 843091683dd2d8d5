// The squared maximum mean discrepancy between two samples of features (Gretton et al. 2012) with
// the Gaussian kernel k(x, y) = exp(-|x - y|^2 / (2 s^2)), s the median Euclidean distance between
// different rows of both samples together.
//
// Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_MMD_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_MMD_H_

#include "absl/status/statusor.h"
#include "model/eval/statistics/features.h"
#include "model/eval/statistics/resampling.h"

namespace synthvol::model {

struct Mmd {
  // Without the diagonals of the within-sample blocks; may be below 0. Gretton's MMD^2_u.
  double unbiased = 0;
  // With them; never below 0. Gretton's MMD^2_b.
  double biased = 0;
  // s; 0 when more than half of the rows coincide, and then the kernel is 1 for equal rows, else 0.
  double median_distance = 0;
  // Of `unbiased`; the kernel stays as it is.
  Interval interval;
  // Share of random relabellings whose `biased` is at least the samples' own, the sample itself
  // counted: the p value of "both samples come from one distribution".
  double permutation_p = 1;
};

// Computes all of it; `options.replicates` resamples and as many relabellings. Errors as
// CheckComparable.
absl::StatusOr<Mmd> MmdOfSamples(const FeatureSet& a, const FeatureSet& b,
                                 const ResamplingOptions& options);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_MMD_H_
