#include "model/eval/statistics/frechet.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"

namespace synthvol::model {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix MatrixOf(const FeatureSet& set) {
  return Eigen::Map<const RowMajor>(set.values.data(), set.count(), set.dims);
}

// Returns tr((S1^(1/2) S2 S1^(1/2))^(1/2)) for symmetric positive semi-definite S1 and S2.
double TraceOfRoot(const Matrix& s1, const Matrix& s2) {
  const Eigen::SelfAdjointEigenSolver<Matrix> first(s1);
  const Vector roots = first.eigenvalues().cwiseMax(0.0).cwiseSqrt();
  const Matrix half = first.eigenvectors() * roots.asDiagonal();
  // half^T S2 half is similar to S1^(1/2) S2 S1^(1/2): the same eigenvalues, one product less.
  const Matrix inner = half.transpose() * s2 * half;
  const Eigen::SelfAdjointEigenSolver<Matrix> second((inner + inner.transpose()) / 2,
                                                     Eigen::EigenvaluesOnly);
  return second.eigenvalues().cwiseMax(0.0).cwiseSqrt().sum();
}

Frechet Combine(double mean_term, double trace1, double trace2, double trace_of_root) {
  return {mean_term, std::max(0.0, trace1 + trace2 - 2 * trace_of_root)};
}

// A sample's mean and its rows minus the mean, divided by sqrt(n - 1): the covariance is C^T C.
struct Centred {
  Vector mean;
  Matrix rows;
};

Centred Centre(const FeatureSet& set) {
  Centred centred;
  centred.rows = MatrixOf(set);
  centred.mean = centred.rows.colwise().mean();
  centred.rows.rowwise() -= centred.mean.transpose();
  centred.rows /= std::sqrt(static_cast<double>(set.count() - 1));
  return centred;
}

// Everything that the distance between resamples needs: inner products of all rows, [n1+n2, n1+n2],
// about the pooled mean, so that subtracting means later does not cancel.
class PooledProducts {
 public:
  PooledProducts(const FeatureSet& a, const FeatureSet& b) : count_a_(a.count()) {
    Matrix pooled(a.count() + b.count(), a.dims);
    pooled << MatrixOf(a), MatrixOf(b);
    pooled.rowwise() -= pooled.colwise().mean().eval();
    products_.noalias() = pooled * pooled.transpose();
  }

  Frechet Distance(const std::vector<int64_t>& rows_a, std::vector<int64_t> rows_b) const {
    for (int64_t& row : rows_b) row += count_a_;
    const Matrix aa = products_(rows_a, rows_a);
    const Matrix bb = products_(rows_b, rows_b);
    Matrix ab = products_(rows_a, rows_b);
    const double n1 = static_cast<double>(aa.rows());
    const double n2 = static_cast<double>(bb.rows());
    const double mean_term = std::max(0.0, aa.mean() + bb.mean() - 2 * ab.mean());
    const double trace1 = (aa.trace() - n1 * aa.mean()) / (n1 - 1);
    const double trace2 = (bb.trace() - n2 * bb.mean()) / (n2 - 1);
    ab.rowwise() -= ab.colwise().mean().eval();
    ab.colwise() -= ab.rowwise().mean().eval();
    // Singular values by way of the smaller square: half the digits, plenty for an interval.
    const Matrix square =
        ab.rows() <= ab.cols() ? Matrix(ab * ab.transpose()) : Matrix(ab.transpose() * ab);
    const Eigen::SelfAdjointEigenSolver<Matrix> solver(square, Eigen::EigenvaluesOnly);
    const double root = solver.eigenvalues().cwiseMax(0.0).cwiseSqrt().sum();
    return Combine(mean_term, trace1, trace2, root / std::sqrt((n1 - 1) * (n2 - 1)));
  }

 private:
  const int64_t count_a_;
  Matrix products_;
};

}  // namespace

absl::Status CheckComparable(const FeatureSet& a, const FeatureSet& b) {
  if (a.dims != b.dims) {
    return absl::InvalidArgumentError(
        absl::StrCat("features of ", a.dims, " and ", b.dims, " values cannot be compared"));
  }
  for (const FeatureSet* set : {&a, &b}) {
    if (set->count() < 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("a covariance needs at least 2 volumes a side, found ", set->count()));
    }
    for (const double value : set->values) {
      if (!std::isfinite(value)) {
        return absl::InvalidArgumentError("features are not all finite");
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Frechet> FrechetOfGaussians(absl::Span<const double> mean1,
                                           absl::Span<const double> covariance1,
                                           absl::Span<const double> mean2,
                                           absl::Span<const double> covariance2) {
  const size_t d = mean1.size();
  if (mean2.size() != d || covariance1.size() != d * d || covariance2.size() != d * d) {
    return absl::InvalidArgumentError("means must be [d] and covariances [d, d], of one d");
  }
  const auto n = static_cast<Eigen::Index>(d);
  const Eigen::Map<const Vector> m1(mean1.data(), n);
  const Eigen::Map<const Vector> m2(mean2.data(), n);
  const Eigen::Map<const Matrix> s1(covariance1.data(), n, n);
  const Eigen::Map<const Matrix> s2(covariance2.data(), n, n);
  return Combine((m1 - m2).squaredNorm(), s1.trace(), s2.trace(), TraceOfRoot(s1, s2));
}

absl::StatusOr<Frechet> FrechetOfSamples(const FeatureSet& a, const FeatureSet& b) {
  if (auto status = CheckComparable(a, b); !status.ok()) return status;
  const Centred first = Centre(a);
  const Centred second = Centre(b);
  double root = 0;
  if (std::min(a.count(), b.count()) <= a.dims) {
    const Matrix cross = first.rows * second.rows.transpose();
    root = Eigen::BDCSVD<Matrix>(cross).singularValues().sum();
  } else {
    root = TraceOfRoot(first.rows.transpose() * first.rows, second.rows.transpose() * second.rows);
  }
  return Combine((first.mean - second.mean).squaredNorm(), first.rows.squaredNorm(),
                 second.rows.squaredNorm(), root);
}

absl::StatusOr<Interval> FrechetInterval(const FeatureSet& a, const FeatureSet& b, double estimate,
                                         const ResamplingOptions& options) {
  if (auto status = CheckComparable(a, b); !status.ok()) return status;
  const PooledProducts products(a, b);
  Resampler resampler(options.seed);
  std::vector<double> replicates;
  for (int i = 0; i < options.replicates; ++i) {
    const std::vector<int64_t> rows_a = resampler.Indices(a.count());
    replicates.push_back(products.Distance(rows_a, resampler.Indices(b.count())).value());
  }
  Interval interval = ShiftedPercentiles(replicates, estimate, options.level);
  interval.low = std::max(0.0, interval.low);
  return interval;
}

}  // namespace synthvol::model
