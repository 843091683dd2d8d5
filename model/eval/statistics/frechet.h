// The Fréchet distance between Gaussians, and of two samples of features: FID when the features are
// a network's (Heusel et al. 2017, after Dowson and Landau 1982):
//   d = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))
//
// Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_FRECHET_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_FRECHET_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/eval/statistics/features.h"
#include "model/eval/statistics/resampling.h"

namespace synthvol::model {

// The distance and its two halves.
struct Frechet {
  // |m1 - m2|^2
  double mean_term = 0;
  // tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), never below 0.
  double covariance_term = 0;

  double value() const { return mean_term + covariance_term; }
};

// Computes the distance between two Gaussians of dimension d: means [d], covariances [d, d],
// symmetric. The trace is taken from the symmetric form tr((S1^(1/2) S2 S1^(1/2))^(1/2)): two
// symmetric eigendecompositions with negative rounding clipped, so that nothing becomes complex and
// a singular product needs no added diagonal. INVALID_ARGUMENT for sizes that disagree.
absl::StatusOr<Frechet> FrechetOfGaussians(absl::Span<const double> mean1,
                                           absl::Span<const double> covariance1,
                                           absl::Span<const double> mean2,
                                           absl::Span<const double> covariance2);

// Computes the distance between the Gaussians fitted to two samples, covariances with n - 1. With
// no more rows than dimensions the trace is the sum of the singular values of the centred cross
// product A B^T / sqrt((n1-1)(n2-1)), which is the same number (both are |S1^(1/2) S2^(1/2)|_*)
// without a [dims, dims] matrix. Errors as CheckComparable.
absl::StatusOr<Frechet> FrechetOfSamples(const FeatureSet& a, const FeatureSet& b);

// Resamples rows of both samples with replacement, `replicates` times, and returns the
// bias-shifted percentile interval around FrechetOfSamples (resampling.h).
absl::StatusOr<Interval> FrechetInterval(const FeatureSet& a, const FeatureSet& b, double estimate,
                                         const ResamplingOptions& options);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_FRECHET_H_
