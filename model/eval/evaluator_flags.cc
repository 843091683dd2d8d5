#include "model/eval/evaluator_flags.h"

namespace synthvol::model {

void AddSyntheticFlags(CLI::App& app, EvaluatorOptions& options) {
  app.add_option("--synthetic", options.synthetic,
                 "generated volumes: a checkpoint folder, a folder of .npy or NIfTI volumes, or a "
                 "data set")
      ->required();
  app.add_option("--count", options.count,
                 "generated volumes to take; 0: all there are, 64 of a checkpoint")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--seed", options.seed, "first seed of a checkpoint's volumes");
  app.add_option("--threads", options.threads, "threads of one synthesis; 0: all cores")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--window", options.window,
                 "stored units (HU) that are [-1, 1] in folders of int16 or NIfTI volumes");
}

void AddRealFlag(CLI::App& app, EvaluatorOptions& options, bool required) {
  app.add_option("--real", options.real,
                 "real volumes: a data set of synthvol-prepare, or a folder of volumes")
      ->required(required);
}

void AddFeatureFlags(CLI::App& app, EvaluatorOptions& options) {
  app.add_option("--weights", options.weights,
                 "weights of the 3D ResNet-50 (.safetensors from tools/convert_medicalnet.py); "
                 "without it, fixed random weights, said so beside every figure");
  app.add_option("--split", options.split, "what of a data set to compare with")
      ->check(CLI::IsMember({"train", "validation", "all"}));
}

void AddResamplingFlags(CLI::App& app, EvaluatorOptions& options) {
  app.add_option("--bootstrap", options.resampling.replicates,
                 "resamples for the 95% intervals; 0: none")
      ->check(CLI::Range(0, 100000));
  app.add_option("--bootstrap-seed", options.resampling.seed, "seed of the resamples and pairs");
}

void AddResultFlags(CLI::App& app, EvaluatorOptions& options) {
  app.add_option("--json", options.json, "file to write all figures to");
  app.add_option("--gate", options.gate,
                 "thresholds file: exit status 1 when a figure is outside its limits");
}

}  // namespace synthvol::model
