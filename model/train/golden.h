// Files of golden values (shared/golden/README.md): figures of the authors' implementations from
// weights and inputs that an integer hash rebuilds bit for bit. Compares our networks with them.
//
// Pure functions; large files need gigabytes of memory while they run.
#ifndef SYNTHVOL_MODEL_TRAIN_GOLDEN_H_
#define SYNTHVOL_MODEL_TRAIN_GOLDEN_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/train/networks.h"

namespace synthvol::model {

struct GoldenFigure {
  std::string name;
  double expected = 0;
  double actual = 0;
  // Largest difference that passes.
  double tolerance = 0;
  bool Passes() const;
};

struct GoldenOptions {
  // Leaves out the training iterations.
  bool forward_only = false;
  // The forward figures are of the path that trains and serves.
  ConvolutionPath forward_path = ConvolutionPath::kFast;
  // The training figures are of the reference's order of operations: Adam's first steps are the
  // gradient's sign, so that rounding alone moves a later loss by more than the tolerance of some
  // files. networks_test.cc holds the two paths' gradients against each other.
  ConvolutionPath training_path = ConvolutionPath::kPlain;
  // Called on the freshly filled networks; lets a test damage a layer.
  std::function<void(Networks&)> alter;
  // Called with each figure as it is known.
  std::function<void(const GoldenFigure&)> on_figure;
};

// Rebuilds weights and inputs of the golden file at `path`, computes every figure in it and returns
// all of them. Errors name the file and field when it is not of this form.
absl::StatusOr<std::vector<GoldenFigure>> CompareWithGolden(const std::string& path,
                                                            const GoldenOptions& options);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_GOLDEN_H_
