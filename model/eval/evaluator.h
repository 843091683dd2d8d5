// Opens what a command line names and computes the figures that were asked for: what the figure
// commands and the report share.
//
// Plain values and free functions.
#ifndef SYNTHVOL_MODEL_EVAL_EVALUATOR_H_
#define SYNTHVOL_MODEL_EVAL_EVALUATOR_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/eval/feature_network.h"
#include "model/eval/gate/plausibility.h"
#include "model/eval/sample.h"
#include "model/eval/statistics/resampling.h"
#include "model/eval/volume_set.h"

namespace synthvol::model {

// What the options of synthvol-eval set.
struct EvaluatorOptions {
  // Real volumes: a data set or a folder (VolumeSet::Open), or a features .npy.
  std::string real;
  // Generated ones: a checkpoint as well.
  std::string synthetic;
  // Real volumes outside training, when `real` is no data set with a validation split.
  std::string held_out;
  // Weights of the feature network (.safetensors); empty for the random one.
  std::string weights;
  // "train", "validation" or "all": what of `real` FID and MMD compare with.
  std::string split = "train";
  // Ranges of the plausibility gate (JSON); empty for the checkpoint's own, else those of `real`.
  std::string ranges;
  std::string window = "-1024,600";
  // Generated volumes to take; 0 for all (64 of a checkpoint).
  int64_t count = 0;
  uint64_t seed = 0;
  int threads = 0;
  // Pairs of volumes for MS-SSIM.
  int64_t pairs = 100;
  ResamplingOptions resampling;
  // Results: JSON file, thresholds file; empty for none.
  std::string json;
  std::string gate;
};

// Parses "train", "validation" or "all" into a split. INVALID_ARGUMENT names the flag.
absl::StatusOr<std::optional<imaging::Split>> ParseSplit(const std::string& text);
// Parses "LOW,HIGH" in stored units. INVALID_ARGUMENT names the flag.
absl::StatusOr<imaging::Window> ParseWindow(const std::string& text);

// Opens the sets that `options` name. OpenHeldOut returns an empty pointer when there is none.
absl::StatusOr<std::unique_ptr<VolumeSet>> OpenReal(const EvaluatorOptions& options,
                                                    const std::string& split);
absl::StatusOr<std::unique_ptr<VolumeSet>> OpenSynthetic(const EvaluatorOptions& options);
absl::StatusOr<std::unique_ptr<VolumeSet>> OpenHeldOut(const EvaluatorOptions& options);

// Loads the weights, or makes the random network.
absl::StatusOr<std::unique_ptr<FeatureNetwork>> OpenNetwork(const EvaluatorOptions& options);

// Returns the ranges that a generator is held to, from the first of: the file, the checkpoint, the
// training volumes of the data set. INVALID_ARGUMENT when there is none of them.
absl::StatusOr<PlausibilityRanges> FindRanges(const EvaluatorOptions& options,
                                              const VolumeSet& synthetic);

// Returns the sample of a features .npy, or measures a set's features.
absl::StatusOr<Sample> FeaturesOfReal(const EvaluatorOptions& options);
absl::StatusOr<Sample> FeaturesOfSynthetic(const EvaluatorOptions& options);

// Says where an evaluation is from: tool, build, time, and the samples' descriptions.
nlohmann::json Provenance(const EvaluatorOptions& options);

// Prints the figures in words, checks the thresholds, writes the JSON file. Returns the exit
// status: 1 when a threshold or the copy test fails.
absl::StatusOr<int> Conclude(nlohmann::json evaluation, const EvaluatorOptions& options);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_EVALUATOR_H_
