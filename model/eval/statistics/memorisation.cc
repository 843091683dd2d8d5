#include "model/eval/statistics/memorisation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/eval/statistics/resampling.h"
#include "model/eval/statistics/special_functions.h"

namespace synthvol::model {
namespace {

double RmsDifference(absl::Span<const double> a, absl::Span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

std::vector<double> Distances(const std::vector<Neighbour>& neighbours) {
  std::vector<double> distances;
  distances.reserve(neighbours.size());
  for (const Neighbour& neighbour : neighbours) distances.push_back(neighbour.distance);
  return distances;
}

// Returns the one-sided p of "values of `a` tend to be smaller than those of `b`": the normal
// approximation with correction for ties and continuity (Mann and Whitney 1947).
double MannWhitneySmaller(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<std::pair<double, bool>> pooled;
  pooled.reserve(a.size() + b.size());
  for (const double value : a) pooled.emplace_back(value, true);
  for (const double value : b) pooled.emplace_back(value, false);
  std::sort(pooled.begin(), pooled.end());
  double rank_sum = 0;
  double ties = 0;
  for (size_t begin = 0; begin < pooled.size();) {
    size_t end = begin;
    while (end < pooled.size() && pooled[end].first == pooled[begin].first) ++end;
    const double rank = static_cast<double>(begin + 1 + end) / 2;
    const auto tied = static_cast<double>(end - begin);
    ties += tied * tied * tied - tied;
    for (size_t i = begin; i < end; ++i) rank_sum += pooled[i].second ? rank : 0;
    begin = end;
  }
  const auto n1 = static_cast<double>(a.size());
  const auto n2 = static_cast<double>(b.size());
  const double n = n1 + n2;
  const double u = rank_sum - n1 * (n1 + 1) / 2;
  const double variance = n1 * n2 / 12 * (n + 1 - ties / (n * (n - 1)));
  if (variance <= 0) return 1;
  return NormalSurvival((n1 * n2 / 2 - u - 0.5) / std::sqrt(variance));
}

}  // namespace

std::vector<Neighbour> NearestRows(const FeatureSet& query, const FeatureSet& reference,
                                   bool skip_same_row) {
  std::vector<Neighbour> nearest;
  for (int64_t i = 0; i < query.count(); ++i) {
    Neighbour best{-1, std::numeric_limits<double>::infinity()};
    for (int64_t j = 0; j < reference.count(); ++j) {
      if (skip_same_row && i == j) continue;
      const double distance = RmsDifference(query.Row(i), reference.Row(j));
      if (distance < best.distance) best = {j, distance};
    }
    nearest.push_back(best);
  }
  return nearest;
}

absl::StatusOr<CopyTest> FindCopies(const FeatureSet& generated, const FeatureSet& training,
                                    const FeatureSet& held_out, double factor) {
  const bool alone = held_out.count() == 0;
  if (generated.count() < 1 || training.count() < (alone ? 2 : 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "memorisation needs a generated volume, and a training volume beside held-out ones or two "
        "without; found ",
        generated.count(), " generated, ", training.count(), " training, ", held_out.count(),
        " held out"));
  }
  CopyTest test;
  test.leave_one_out = alone;
  test.generated = NearestRows(generated, training, false);
  test.real =
      alone ? NearestRows(training, training, true) : NearestRows(held_out, training, false);
  const std::vector<double> distances = Distances(test.generated);
  test.median_generated = Quantile(distances, 0.5);
  test.median_real = Quantile(Distances(test.real), 0.5);
  test.threshold = factor * test.median_real;
  test.copies = std::count_if(distances.begin(), distances.end(),
                              [&](double distance) { return distance < test.threshold; });
  test.nearer_p = MannWhitneySmaller(distances, Distances(test.real));
  test.passed = test.copies == 0;
  return test;
}

}  // namespace synthvol::model
