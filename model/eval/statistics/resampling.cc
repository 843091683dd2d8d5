#include "model/eval/statistics/resampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace synthvol::model {

int64_t Resampler::Index(int64_t n) {
  // 53 bits scaled down: the bias is below 2^-40 for any sample that fits in memory.
  constexpr double kScale = 0x1.0p-53;
  return static_cast<int64_t>(static_cast<double>(engine_() >> 11) * kScale *
                              static_cast<double>(n));
}

std::vector<int64_t> Resampler::Indices(int64_t n) {
  std::vector<int64_t> indices(static_cast<size_t>(n));
  for (int64_t& index : indices) index = Index(n);
  return indices;
}

std::vector<int64_t> Resampler::Permutation(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[Index(i + 1)]);
  return order;
}

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], position - static_cast<double>(below));
}

Interval Percentiles(const std::vector<double>& replicates, double estimate, double level) {
  Interval interval;
  interval.replicates = static_cast<int>(replicates.size());
  if (replicates.empty()) return interval;
  const auto count = static_cast<double>(replicates.size());
  const double mean = std::accumulate(replicates.begin(), replicates.end(), 0.0) / count;
  double squares = 0;
  for (const double value : replicates) squares += (value - mean) * (value - mean);
  interval.standard_error = std::sqrt(squares / std::max(1.0, count - 1));
  interval.bias = mean - estimate;
  interval.low = Quantile(replicates, (1 - level) / 2);
  interval.high = Quantile(replicates, (1 + level) / 2);
  return interval;
}

Interval ShiftedPercentiles(const std::vector<double>& replicates, double estimate, double level) {
  Interval interval = Percentiles(replicates, estimate, level);
  interval.low -= interval.bias;
  interval.high -= interval.bias;
  return interval;
}

}  // namespace synthvol::model
