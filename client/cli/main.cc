// The `synthvol` command line.
#include <csignal>
#include <vector>

#include "base/allocator.h"
#include "base/command_line.h"
#include "client/cli/command.h"

int main(int argc, char** argv) {
  synthvol::KeepFreedMemory();
  using namespace synthvol::client;  // NOLINT(google-build-using-namespace): the commands, all of
                                     // them
  // A file-size limit is an error to report, and a reader that went away one too.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app("Synthetic 3D CT volumes from a synthvol server.", "synthvol");
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  const std::vector<Command> commands = {
      AddModelsCommand(app), AddGenerateCommand(app),   AddPushCommand(app), AddBenchCommand(app),
      AddStatusCommand(app), AddCompletionCommand(app), AddManCommand(app)};
  if (const auto exit_status = synthvol::ParseCommandLine(app, argc, argv)) return *exit_status;
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    const absl::Status status = command.run();
    return status.ok() ? synthvol::kExitFine : synthvol::ReportError("synthvol", status);
  }
  return synthvol::kExitBadUsage;
}
