// The subcommands of synthvol-eval.
#ifndef SYNTHVOL_MODEL_EVAL_COMMANDS_H_
#define SYNTHVOL_MODEL_EVAL_COMMANDS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"

namespace synthvol::model {

// A subcommand that was added to the parser, and what to do when it was chosen: returns the exit
// status.
struct Command {
  CLI::App* app;
  std::function<absl::StatusOr<int>()> run;
};

// fid, mmd, diversity, memorisation, plausibility, features.
void AddFigureCommands(CLI::App& app, std::vector<Command>& commands);
// study build, study serve, study analyze.
void AddStudyCommands(CLI::App& app, std::vector<Command>& commands);
// report.
void AddReportCommand(CLI::App& app, std::vector<Command>& commands);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_COMMANDS_H_
