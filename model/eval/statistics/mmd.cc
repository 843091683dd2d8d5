#include "model/eval/statistics/mmd.h"

#include <Eigen/Dense>
#include <cmath>
#include <numeric>
#include <vector>

namespace synthvol::model {
namespace {

using Matrix = Eigen::MatrixXd;

// Returns squared distances between all rows of both samples, [n1+n2, n1+n2]. Differences are taken
// before squaring: |x|^2 + |y|^2 - 2xy would lose near copies to rounding.
Matrix SquaredDistances(const FeatureSet& a, const FeatureSet& b) {
  const int64_t n = a.count() + b.count();
  const auto row = [&](int64_t i) {
    const absl::Span<const double> span = i < a.count() ? a.Row(i) : b.Row(i - a.count());
    return Eigen::Map<const Eigen::VectorXd>(span.data(), a.dims);
  };
  Matrix squared = Matrix::Zero(n, n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) squared(i, j) = squared(j, i) = (row(i) - row(j)).squaredNorm();
  }
  return squared;
}

double MedianDistance(const Matrix& squared) {
  std::vector<double> distances;
  for (Eigen::Index i = 0; i < squared.rows(); ++i) {
    for (Eigen::Index j = 0; j < i; ++j) distances.push_back(std::sqrt(squared(i, j)));
  }
  return Quantile(std::move(distances), 0.5);
}

Matrix Kernel(const Matrix& squared, double s) {
  if (s == 0) return (squared.array() == 0).cast<double>();
  return (-squared.array() / (2 * s * s)).exp();
}

struct Estimates {
  double unbiased = 0;
  double biased = 0;
};

// Takes which rows of the pooled kernel make up each sample; rows may repeat.
Estimates Estimate(const Matrix& kernel, const std::vector<int64_t>& rows_a,
                   const std::vector<int64_t>& rows_b) {
  const Matrix aa = kernel(rows_a, rows_a);
  const Matrix bb = kernel(rows_b, rows_b);
  const double cross = kernel(rows_a, rows_b).mean();
  const auto n1 = static_cast<double>(rows_a.size());
  const auto n2 = static_cast<double>(rows_b.size());
  return {(aa.sum() - aa.trace()) / (n1 * (n1 - 1)) + (bb.sum() - bb.trace()) / (n2 * (n2 - 1)) -
              2 * cross,
          std::max(0.0, aa.mean() + bb.mean() - 2 * cross)};
}

std::vector<int64_t> Offset(std::vector<int64_t> rows, int64_t offset) {
  for (int64_t& row : rows) row += offset;
  return rows;
}

}  // namespace

absl::StatusOr<Mmd> MmdOfSamples(const FeatureSet& a, const FeatureSet& b,
                                 const ResamplingOptions& options) {
  if (auto status = CheckComparable(a, b); !status.ok()) return status;
  Matrix kernel = SquaredDistances(a, b);
  Mmd mmd;
  mmd.median_distance = MedianDistance(kernel);
  kernel = Kernel(kernel, mmd.median_distance);

  const int64_t n1 = a.count();
  const int64_t n2 = b.count();
  std::vector<int64_t> all(static_cast<size_t>(n1 + n2));
  std::iota(all.begin(), all.end(), 0);
  const Estimates estimate =
      Estimate(kernel, {all.begin(), all.begin() + n1}, {all.begin() + n1, all.end()});
  mmd.unbiased = estimate.unbiased;
  mmd.biased = estimate.biased;

  Resampler resampler(options.seed);
  std::vector<double> replicates;
  int as_large = 1;
  for (int i = 0; i < options.replicates; ++i) {
    const std::vector<int64_t> rows_a = resampler.Indices(n1);
    const std::vector<int64_t> rows_b = Offset(resampler.Indices(n2), n1);
    replicates.push_back(Estimate(kernel, rows_a, rows_b).unbiased);
    const std::vector<int64_t> order = resampler.Permutation(n1 + n2);
    const double relabelled =
        Estimate(kernel, {order.begin(), order.begin() + n1}, {order.begin() + n1, order.end()})
            .biased;
    // The same rows in another order sum to the same value but for rounding.
    as_large += relabelled >= estimate.biased * (1 - 1e-12) ? 1 : 0;
  }
  mmd.interval = ShiftedPercentiles(replicates, mmd.unbiased, options.level);
  mmd.permutation_p = static_cast<double>(as_large) / (options.replicates + 1);
  return mmd;
}

}  // namespace synthvol::model
