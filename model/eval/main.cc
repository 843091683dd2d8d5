// synthvol-eval: what is known about a generator before it may serve. docs/evaluation.md
#include <CLI/CLI.hpp>
#include <vector>

#include "base/command_line.h"
#include "model/eval/commands.h"

namespace synthvol::model {
namespace {

constexpr const char* kProgram = "synthvol-eval";

int Main(int argc, const char* const* argv) {
  CLI::App app("Measures a generator: fidelity, diversity, copying, plausibility, reader study.",
               kProgram);
  app.option_defaults()->always_capture_default();
  app.require_subcommand(1);
  std::vector<Command> commands;
  AddFigureCommands(app, commands);
  AddStudyCommands(app, commands);
  AddReportCommand(app, commands);
  if (const auto status = ParseCommandLine(app, argc, argv)) return *status;
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    const auto status = command.run();
    return status.ok() ? *status : ReportError(kProgram, status.status());
  }
  return kExitBadUsage;
}

}  // namespace
}  // namespace synthvol::model

int main(int argc, char** argv) { return synthvol::model::Main(argc, argv); }
