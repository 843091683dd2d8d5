// synthvol-prepare: scans or phantoms in, a data set for synthvol-train out.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/command_line.h"
#include "imaging/io/memory_gate.h"
#include "imaging/io/prepare.h"

namespace synthvol::imaging {
namespace {

constexpr const char* kName = "synthvol-prepare";
constexpr const char* kMrWindow = "percentile:0.5,99.5";
constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;

void AddOptions(CLI::App& app, PrepareOptions& options, std::string& window, double& memory_gib) {
  auto* input =
      app.add_option("--input", options.inputs,
                     "Scans: files or folders (searched recursively) of MetaImage, NIfTI, "
                     "NRRD or DICOM series, in any mix")
          ->type_name("PATH...");
  auto* phantom = app.add_option("--phantom", options.phantom_count,
                                 "Draw this many thorax phantoms instead of reading scans")
                      ->type_name("COUNT");
  input->excludes(phantom);
  app.add_option("--phantom-seed", options.phantom_seed, "Seed of the first phantom");
  app.add_option("--output", options.output, "Folder of the data set; a stopped run goes on in it")
      ->required()
      ->type_name("DIR");
  app.add_option("--size", options.size, "Voxels a side (16..512)")->required();
  app.add_option("--modality", options.modality, "CT or MR");
  app.add_option("--window", window,
                 absl::StrCat("Range that becomes [-1, 1]: LOW,HIGH in stored units (HU), or "
                              "percentile:LOW,HIGH of each scan. Default: -1024,600 for CT, ",
                              kMrWindow, " for MR"));
  app.add_option("--jobs", options.jobs, "Scans prepared at a time");
  app.add_option("--memory", memory_gib, "GiB that the jobs may take together");
  app.add_option("--split", options.train_fraction, "Share of patients that train, 0..1");
  app.add_option("--split-seed", options.split_seed, "Seed that chooses them");
}

int Report(const PrepareOptions& options, const PrepareResult& result) {
  const DatasetManifest& manifest = result.manifest;
  for (const DatasetFailure& failure : manifest.failures) {
    std::fprintf(stderr, "%s: skipped %s: %s\n", kName, OneLine(failure.source).c_str(),
                 OneLine(failure.reason).c_str());
  }
  std::printf(
      "%s: %zu volumes of %ld^3 (%ld train, %ld validation; %ld from before, %ld whose "
      "scan changed), %zu scans skipped\n",
      options.output.c_str(), manifest.items.size(), static_cast<long>(manifest.size),
      static_cast<long>(manifest.Count(Split::kTrain)),
      static_cast<long>(manifest.Count(Split::kValidation)), static_cast<long>(result.reused),
      static_cast<long>(result.changed), manifest.failures.size());
  return kExitFine;
}

int Main(int argc, char** argv) {
  CLI::App app("Prepares CT or MR scans, or phantoms, for training.", kName);
  PrepareOptions options;
  std::string window;
  options.jobs = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  double memory_gib = static_cast<double>(HalfOfMemory()) / kGibibyte;
  AddOptions(app, options, window, memory_gib);
  if (const std::optional<int> status = ParseCommandLine(app, argc, argv)) return *status;
  if (window.empty()) window = options.modality == "MR" ? kMrWindow : "-1024,600";
  absl::StatusOr<WindowRule> rule = ParseWindowRule(window);
  if (!rule.ok()) {
    return ReportError(kName,
                       absl::InvalidArgumentError(absl::StrCat("--", rule.status().message())));
  }
  if (!(memory_gib > 0.0 && memory_gib < 1e6)) {
    return ReportError(kName,
                       absl::InvalidArgumentError("--memory: expected a positive number of GiB"));
  }
  options.window = *rule;
  options.memory = static_cast<int64_t>(memory_gib * kGibibyte);
  absl::StatusOr<PrepareResult> result = Prepare(options);
  if (!result.ok()) return ReportError(kName, result.status());
  return Report(options, *result);
}

}  // namespace
}  // namespace synthvol::imaging

int main(int argc, char** argv) { return synthvol::imaging::Main(argc, argv); }
