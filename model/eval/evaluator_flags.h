// The flags that several subcommands share, each written once.
#ifndef SYNTHVOL_MODEL_EVAL_EVALUATOR_FLAGS_H_
#define SYNTHVOL_MODEL_EVAL_EVALUATOR_FLAGS_H_

#include <CLI/CLI.hpp>

#include "model/eval/evaluator.h"

namespace synthvol::model {

// --synthetic, --count, --seed, --threads, --window.
void AddSyntheticFlags(CLI::App& app, EvaluatorOptions& options);
// --real, --weights, --split.
void AddRealFlag(CLI::App& app, EvaluatorOptions& options, bool required);
void AddFeatureFlags(CLI::App& app, EvaluatorOptions& options);
// --bootstrap, --bootstrap-seed.
void AddResamplingFlags(CLI::App& app, EvaluatorOptions& options);
// --json, --gate.
void AddResultFlags(CLI::App& app, EvaluatorOptions& options);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_EVALUATOR_FLAGS_H_
