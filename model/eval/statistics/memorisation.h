// Does a generator repeat its training patients? The nearest training volume of every generated
// volume, against the nearest training volume of real volumes that it never saw.
//
// Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_MEMORISATION_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_MEMORISATION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/eval/statistics/features.h"

namespace synthvol::model {

// A row's nearest row in another set.
struct Neighbour {
  int64_t index = 0;
  // Root mean square difference over the features.
  double distance = 0;
};

// Finds the nearest row of `reference` for every row of `query`. With `skip_same_row`, row i of the
// query does not see row i of the reference (a set against itself).
std::vector<Neighbour> NearestRows(const FeatureSet& query, const FeatureSet& reference,
                                   bool skip_same_row);

struct CopyTest {
  std::vector<Neighbour> generated;
  // Of held-out real volumes; of every training volume among the others when there are none.
  std::vector<Neighbour> real;
  bool leave_one_out = false;
  double median_generated = 0;
  double median_real = 0;
  // `factor` times median_real: nearer than that is a copy.
  double threshold = 0;
  int64_t copies = 0;
  // One-sided Mann-Whitney p of "generated volumes are no nearer to training than real ones".
  // Told, not judged: a blurred volume is near everything without copying anything.
  double nearer_p = 1;
  bool passed = false;
};

// Why half the median: the mean of a data set lies at 1/sqrt(2) = 0.71 of the distance between two
// independent members, so mere smoothness stays above 0.5, and a copy falls below it until its
// noise is half as large as the difference between patients.
inline constexpr double kCopyFactor = 0.5;

// Compares in one space; passes when no generated volume is a copy. `held_out` may be empty, and
// then `training` needs two rows. INVALID_ARGUMENT says what is missing.
absl::StatusOr<CopyTest> FindCopies(const FeatureSet& generated, const FeatureSet& training,
                                    const FeatureSet& held_out, double factor = kCopyFactor);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_MEMORISATION_H_
