#include "model/eval/evaluator.h"

#include <filesystem>
#include <iostream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/atomic_file.h"
#include "base/command_line.h"
#include "base/version.h"
#include "model/eval/figures.h"
#include "model/eval/thresholds.h"

namespace synthvol::model {
namespace {

absl::StatusOr<VolumeSetOptions> SetOptions(const EvaluatorOptions& options) {
  const auto window = ParseWindow(options.window);
  if (!window.ok()) return window.status();
  VolumeSetOptions set;
  set.window = *window;
  set.threads = options.threads;
  return set;
}

bool IsFeatureFile(const std::string& path) { return absl::EndsWith(path, ".npy"); }

absl::StatusOr<Sample> FeaturesOfSet(const EvaluatorOptions& options, VolumeSet& set,
                                     const std::string& label) {
  const auto network = OpenNetwork(options);
  if (!network.ok()) return network.status();
  MeasureOptions measure;
  measure.network = network->get();
  return Measure(set, measure, label);
}

}  // namespace

absl::StatusOr<std::optional<imaging::Split>> ParseSplit(const std::string& text) {
  if (text == "train") return imaging::Split::kTrain;
  if (text == "validation") return imaging::Split::kValidation;
  if (text == "all") return std::nullopt;
  return absl::InvalidArgumentError(
      absl::StrCat("--split: expected train, validation or all, found '", text, "'"));
}

absl::StatusOr<imaging::Window> ParseWindow(const std::string& text) {
  const std::vector<std::string> ends = absl::StrSplit(text, ',');
  imaging::Window window;
  if (ends.size() != 2 || !absl::SimpleAtod(ends[0], &window.low) ||
      !absl::SimpleAtod(ends[1], &window.high) || !(window.low < window.high)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--window: expected LOW,HIGH with LOW below HIGH, found '", text, "'"));
  }
  return window;
}

absl::StatusOr<std::unique_ptr<VolumeSet>> OpenReal(const EvaluatorOptions& options,
                                                    const std::string& split) {
  auto set = SetOptions(options);
  if (!set.ok()) return set.status();
  const auto side = ParseSplit(split);
  if (!side.ok()) return side.status();
  set->split = *side;
  return VolumeSet::Open(options.real, *set);
}

absl::StatusOr<std::unique_ptr<VolumeSet>> OpenSynthetic(const EvaluatorOptions& options) {
  auto set = SetOptions(options);
  if (!set.ok()) return set.status();
  set->count = options.count;
  set->seed = options.seed;
  return VolumeSet::Open(options.synthetic, *set);
}

absl::StatusOr<std::unique_ptr<VolumeSet>> OpenHeldOut(const EvaluatorOptions& options) {
  auto set = SetOptions(options);
  if (!set.ok()) return set.status();
  if (!options.held_out.empty()) return VolumeSet::Open(options.held_out, *set);
  if (!std::filesystem::exists(imaging::ManifestPath(options.real))) return nullptr;
  set->split = imaging::Split::kValidation;
  auto opened = VolumeSet::Open(options.real, *set);
  if (opened.ok() && (*opened)->count() == 0) return nullptr;
  return opened;
}

absl::StatusOr<std::unique_ptr<FeatureNetwork>> OpenNetwork(const EvaluatorOptions& options) {
  if (options.weights.empty()) return FeatureNetwork::MakeRandom();
  return FeatureNetwork::Load(options.weights);
}

absl::StatusOr<PlausibilityRanges> FindRanges(const EvaluatorOptions& options,
                                              const VolumeSet& synthetic) {
  if (!options.ranges.empty()) {
    const auto text = ReadFile(options.ranges, 1 << 20);
    if (!text.ok()) return text.status();
    return PlausibilityRanges::Parse(*text, options.ranges);
  }
  if (const std::string json = synthetic.plausibility_json(); !json.empty()) {
    return PlausibilityRanges::Parse(json, options.synthetic + "/config.json: plausibility");
  }
  if (std::filesystem::exists(imaging::ManifestPath(options.real))) {
    return RangesOfDataset(options.real);
  }
  return absl::InvalidArgumentError(
      "plausibility needs ranges: --ranges FILE, a checkpoint that carries them, or --real "
      "DATASET");
}

absl::StatusOr<Sample> FeaturesOfReal(const EvaluatorOptions& options) {
  if (IsFeatureFile(options.real)) return ReadFeatures(options.real);
  const auto set = OpenReal(options, options.split);
  if (!set.ok()) return set.status();
  return FeaturesOfSet(options, **set, "real");
}

absl::StatusOr<Sample> FeaturesOfSynthetic(const EvaluatorOptions& options) {
  if (IsFeatureFile(options.synthetic)) return ReadFeatures(options.synthetic);
  const auto set = OpenSynthetic(options);
  if (!set.ok()) return set.status();
  return FeaturesOfSet(options, **set, "synthetic");
}

nlohmann::json Provenance(const EvaluatorOptions& options) {
  return {{"tool", "synthvol-eval"},
          {"build", Build()},
          {"time", absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone())},
          {"real", options.real},
          {"synthetic", options.synthetic},
          {"seed", options.seed},
          {"resampling_seed", options.resampling.seed}};
}

absl::StatusOr<int> Conclude(nlohmann::json evaluation, const EvaluatorOptions& options) {
  bool passed = true;
  if (evaluation.contains("memorisation"))
    passed = evaluation["memorisation"]["passed"].get<bool>();
  if (!options.gate.empty()) {
    const auto text = ReadFile(options.gate, 1 << 20);
    if (!text.ok()) return text.status();
    const auto limits = ParseThresholds(*text, options.gate);
    if (!limits.ok()) return limits.status();
    evaluation["gate"] = CheckThresholds(evaluation, *limits);
    passed = passed && evaluation["gate"]["passed"].get<bool>();
  }
  std::cout << InWords(evaluation);
  if (evaluation.contains("gate")) std::cout << GateInWords(evaluation["gate"]);
  if (!options.json.empty()) {
    if (auto status = WriteFileAtomically(options.json, evaluation.dump(2) + "\n"); !status.ok()) {
      return status;
    }
  }
  return passed ? kExitFine : kExitFailed;
}

}  // namespace synthvol::model
