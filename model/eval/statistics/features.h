// A sample of feature vectors: one row a volume. Plain values; concurrent reads are safe.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_FEATURES_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_FEATURES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace synthvol::model {

struct FeatureSet {
  // Values of one feature vector.
  int64_t dims = 0;
  // [count, dims], row-major.
  std::vector<double> values;

  int64_t count() const { return dims == 0 ? 0 : static_cast<int64_t>(values.size()) / dims; }
  absl::Span<const double> Row(int64_t row) const {
    return absl::MakeConstSpan(values).subspan(static_cast<size_t>(row * dims),
                                               static_cast<size_t>(dims));
  }
};

// Checks that both sets have the same dimension, at least two rows each, and finite values.
// INVALID_ARGUMENT says which is missing.
absl::Status CheckComparable(const FeatureSet& a, const FeatureSet& b);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_FEATURES_H_
