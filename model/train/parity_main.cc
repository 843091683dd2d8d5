// synthvol-parity: rebuilds the inputs of a file of golden values and prints each figure beside the
// expected one; exits 1 past the tolerance.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/command_line.h"
#include "model/train/golden.h"

namespace {

void Print(const synthvol::model::GoldenFigure& figure) {
  std::printf("%-4s %-40s %18.9g %18.9g  within %.3g\n", figure.Passes() ? "ok" : "FAIL",
              figure.name.c_str(), figure.actual, figure.expected, figure.tolerance);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares the networks with golden values: ours, expected, tolerance.",
               "synthvol-parity");
  std::string path;
  synthvol::model::GoldenOptions options;
  bool plain = false;
  bool fast = false;
  app.add_option("golden", path, "File of golden values (JSON)")->required();
  app.add_flag("--forward-only", options.forward_only, "Leave out the training iterations");
  app.add_flag("--plain", plain,
               "Forward figures: upsample, then convolve, not the path that trains");
  app.add_flag("--fast-training", fast,
               "Training figures: the path that trains, not \"upsample, then convolve\"");
  if (const auto status = synthvol::ParseCommandLine(app, argc, argv)) return *status;
  // Adam's first step is the gradient's sign, so that rounding alone moves the losses after it: by
  // 4e-4 between oneDNN's AVX-512 and AVX2 kernels, with tolerances of 2e-4. The golden iterations
  // were computed by the latter. Read once, before oneDNN's first use.
  if (!options.forward_only) setenv("ONEDNN_MAX_CPU_ISA", "AVX2", /*overwrite=*/0);
  if (plain) options.forward_path = synthvol::model::ConvolutionPath::kPlain;
  if (fast) options.training_path = synthvol::model::ConvolutionPath::kFast;
  options.on_figure = Print;

  const auto figures = synthvol::model::CompareWithGolden(path, options);
  if (!figures.ok()) {
    synthvol::ReportError("synthvol-parity", figures.status());
    return synthvol::kExitFailed;
  }
  size_t failures = 0;
  for (const auto& figure : *figures) failures += figure.Passes() ? 0 : 1;
  std::printf("%s: %zu figures, %zu beyond the tolerance\n", path.c_str(), figures->size(),
              failures);
  return failures == 0 ? synthvol::kExitFine : synthvol::kExitFailed;
}
