// Bootstrap resampling: the same draws for the same seed on every machine.
//
// A Resampler is not thread-safe; the rest are pure functions and plain values.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_RESAMPLING_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_RESAMPLING_H_

#include <cstdint>
#include <random>
#include <vector>

namespace synthvol::model {

struct ResamplingOptions {
  // Resamples drawn; 0 leaves the interval out.
  int replicates = 200;
  uint64_t seed = 0;
  // Confidence level.
  double level = 0.95;
};

struct Interval {
  double low = 0;
  double high = 0;
  // Standard deviation of the replicates.
  double standard_error = 0;
  // Mean of the replicates minus the estimate.
  double bias = 0;
  int replicates = 0;
};

// Draws indices and permutations. std::mt19937_64 is the same everywhere; the standard
// distributions are not, so they are not used.
class Resampler {
 public:
  explicit Resampler(uint64_t seed) : engine_(seed) {}

  // Draws uniformly from 0..n-1.
  int64_t Index(int64_t n);
  // Draws n indices from 0..n-1 with replacement.
  std::vector<int64_t> Indices(int64_t n);
  // Shuffles 0..n-1.
  std::vector<int64_t> Permutation(int64_t n);

 private:
  std::mt19937_64 engine_;
};

// Returns the q-quantile (0..1) with linear interpolation between order statistics, as
// numpy.quantile does; NaN without values.
double Quantile(std::vector<double> values, double q);

// Turns replicates into the interval of their percentiles, shifted by their bias: distances between
// samples grow when rows repeat, so the plain percentiles would lie above the estimate.
Interval ShiftedPercentiles(const std::vector<double>& replicates, double estimate, double level);

// Returns the plain percentile interval: for figures that resampling leaves unbiased.
Interval Percentiles(const std::vector<double>& replicates, double estimate, double level);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_RESAMPLING_H_
