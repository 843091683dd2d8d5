// fid, mmd, diversity, memorisation, plausibility, features.
#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/command_line.h"
#include "imaging/montage.h"
#include "model/eval/commands.h"
#include "model/eval/evaluator.h"
#include "model/eval/evaluator_flags.h"
#include "model/eval/figures.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

using FigureFunction = absl::StatusOr<json> (*)(const Sample&, const Sample&,
                                                const ResamplingOptions&);

// fid and mmd: one distance between the features of two samples.
absl::StatusOr<int> RunDistance(const EvaluatorOptions& options, const char* name,
                                FigureFunction figure) {
  const auto real = FeaturesOfReal(options);
  if (!real.ok()) return real.status();
  const auto synthetic = FeaturesOfSynthetic(options);
  if (!synthetic.ok()) return synthetic.status();
  auto figures = figure(*real, *synthetic, options.resampling);
  if (!figures.ok()) return figures.status();
  json evaluation = {{"provenance", Provenance(options)}, {name, *std::move(figures)}};
  evaluation["provenance"]["samples"] = {real->description, synthetic->description};
  return Conclude(std::move(evaluation), options);
}

absl::StatusOr<int> RunDiversity(const EvaluatorOptions& options) {
  const auto synthetic = OpenSynthetic(options);
  if (!synthetic.ok()) return synthetic.status();
  const auto generated =
      MeasureDiversity(**synthetic, options.pairs, options.resampling.seed, "generated");
  if (!generated.ok()) return generated.status();
  std::optional<Diversity> real;
  if (!options.real.empty()) {
    const auto set = OpenReal(options, options.split);
    if (!set.ok()) return set.status();
    auto measured = MeasureDiversity(**set, options.pairs, options.resampling.seed, "real");
    if (!measured.ok()) return measured.status();
    real = *std::move(measured);
  }
  return Conclude(
      {{"provenance", Provenance(options)}, {"diversity", DiversityFigures(*generated, real)}},
      options);
}

// Draws each of the closest pairs as two rows: the generated volume above its training neighbour.
absl::Status DrawClosest(const json& figures, VolumeSet& synthetic, VolumeSet& training,
                         const std::string& path) {
  std::vector<imaging::MidPlanes> rows;
  for (const json& pair : figures["closest"]) {
    for (const auto& [set, key] :
         {std::pair{&synthetic, "generated"}, std::pair{&training, "training"}}) {
      const auto unit = set->Load(pair[key].get<int64_t>());
      if (!unit.ok()) return unit.status();
      rows.push_back(Picture(*set, *unit, training.spacing()));
    }
  }
  return imaging::WriteMontage(path, rows, synthetic.window(), /*tile=*/128);
}

absl::StatusOr<int> RunMemorisation(const EvaluatorOptions& options, const std::string& picture) {
  const auto synthetic = OpenSynthetic(options);
  if (!synthetic.ok()) return synthetic.status();
  const auto training = OpenReal(options, "train");
  if (!training.ok()) return training.status();
  const auto held_out = OpenHeldOut(options);
  if (!held_out.ok()) return held_out.status();
  if (auto status = CheckComparable(**training, **synthetic); !status.ok()) return status;
  const auto network = OpenNetwork(options);
  if (!network.ok()) return network.status();
  MeasureOptions measure;
  measure.network = network->get();
  measure.voxels = true;
  const auto real = Measure(**training, measure, "training");
  if (!real.ok()) return real.status();
  Sample unseen;
  if (*held_out != nullptr) {
    auto measured = Measure(**held_out, measure, "held out");
    if (!measured.ok()) return measured.status();
    unseen = *std::move(measured);
  }
  const auto generated = Measure(**synthetic, measure, "generated");
  if (!generated.ok()) return generated.status();
  auto figures = MemorisationFigures(*generated, *real, unseen);
  if (!figures.ok()) return figures.status();
  if (!picture.empty()) {
    if (auto status = DrawClosest(*figures, **synthetic, **training, picture); !status.ok()) {
      return status;
    }
  }
  return Conclude({{"provenance", Provenance(options)}, {"memorisation", *std::move(figures)}},
                  options);
}

absl::StatusOr<int> RunPlausibility(const EvaluatorOptions& options) {
  const auto synthetic = OpenSynthetic(options);
  if (!synthetic.ok()) return synthetic.status();
  const auto ranges = FindRanges(options, **synthetic);
  if (!ranges.ok()) return ranges.status();
  MeasureOptions measure;
  measure.figures = true;
  const auto sample = Measure(**synthetic, measure, "volumes");
  if (!sample.ok()) return sample.status();
  json evaluation = {{"provenance", Provenance(options)},
                     {"plausibility", PlausibilityFigures(*sample, *ranges)}};
  const auto status = Conclude(evaluation, options);
  if (!status.ok() || *status != kExitFine) return status;
  return evaluation["plausibility"]["rejected"] == 0 ? kExitFine : kExitFailed;
}

absl::StatusOr<int> RunFeatures(const EvaluatorOptions& options, const std::string& output) {
  const auto sample = FeaturesOfSynthetic(options);
  if (!sample.ok()) return sample.status();
  if (auto status = WriteFeatures(output, *sample); !status.ok()) return status;
  std::cout << output << ": " << sample->count() << " volumes, " << sample->extractor << "\n";
  return kExitFine;
}

// Adds fid or mmd.
void AddDistance(CLI::App& app, std::vector<Command>& commands, const char* name,
                 const char* description, FigureFunction figure) {
  auto options = std::make_shared<EvaluatorOptions>();
  CLI::App* const command = app.add_subcommand(name, description);
  AddRealFlag(*command, *options, /*required=*/true);
  AddSyntheticFlags(*command, *options);
  AddFeatureFlags(*command, *options);
  AddResamplingFlags(*command, *options);
  AddResultFlags(*command, *options);
  commands.push_back({command, [=] { return RunDistance(*options, name, figure); }});
}

void AddDiversity(CLI::App& app, std::vector<Command>& commands) {
  auto options = std::make_shared<EvaluatorOptions>();
  CLI::App* const command = app.add_subcommand(
      "diversity", "MS-SSIM between generated volumes, beside that between real ones");
  AddRealFlag(*command, *options, /*required=*/false);
  AddSyntheticFlags(*command, *options);
  command->add_option("--pairs", options->pairs, "pairs of volumes to compare")
      ->check(CLI::PositiveNumber);
  command->add_option("--bootstrap-seed", options->resampling.seed, "seed that draws the pairs");
  AddResultFlags(*command, *options);
  commands.push_back({command, [=] { return RunDiversity(*options); }});
}

void AddMemorisation(CLI::App& app, std::vector<Command>& commands) {
  auto options = std::make_shared<EvaluatorOptions>();
  auto picture = std::make_shared<std::string>();
  CLI::App* const command = app.add_subcommand(
      "memorisation",
      "nearest training volume of every generated one, against held-out real ones; exit status 1 "
      "when there are copies");
  AddRealFlag(*command, *options, /*required=*/true);
  command->add_option("--held-out", options->held_out,
                      "real volumes outside training; default: the data set's validation split");
  AddSyntheticFlags(*command, *options);
  AddFeatureFlags(*command, *options);
  command->add_option("--picture", *picture, "PNG of the closest pairs");
  AddResultFlags(*command, *options);
  commands.push_back({command, [=] { return RunMemorisation(*options, *picture); }});
}

void AddPlausibility(CLI::App& app, std::vector<Command>& commands) {
  auto options = std::make_shared<EvaluatorOptions>();
  CLI::App* const command = app.add_subcommand(
      "plausibility",
      "tissue fractions, roughness, blank and saturated slices against the training data's ranges; "
      "exit status 1 when a volume is rejected");
  AddRealFlag(*command, *options, /*required=*/false);
  command->add_option("--ranges", options->ranges, "JSON file of ranges");
  AddSyntheticFlags(*command, *options);
  AddResultFlags(*command, *options);
  commands.push_back({command, [=] { return RunPlausibility(*options); }});
}

void AddFeatures(CLI::App& app, std::vector<Command>& commands) {
  auto options = std::make_shared<EvaluatorOptions>();
  auto output = std::make_shared<std::string>();
  CLI::App* const command = app.add_subcommand(
      "features", "writes the features of volumes as .npy, which --real and --synthetic take");
  AddSyntheticFlags(*command, *options);
  AddFeatureFlags(*command, *options);
  command->add_option("--output", *output, "file to write, .npy")->required();
  commands.push_back({command, [=] { return RunFeatures(*options, *output); }});
}

}  // namespace

void AddFigureCommands(CLI::App& app, std::vector<Command>& commands) {
  AddDistance(app, commands, "fid",
              "Fréchet distance between features of real and generated volumes", &FidFigures);
  AddDistance(app, commands, "mmd",
              "maximum mean discrepancy between features of real and generated volumes",
              &MmdFigures);
  AddDiversity(app, commands);
  AddMemorisation(app, commands);
  AddPlausibility(app, commands);
  AddFeatures(app, commands);
}

}  // namespace synthvol::model
