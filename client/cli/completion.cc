// `synthvol completion SHELL` and `synthvol man`: what a package installs.
#include <memory>

#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/flag_catalogue.h"

namespace synthvol::client {

Command AddCompletionCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("completion", "Print the completion of a shell");
  const auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "Which shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  return {command, [&app, shell] {
            const std::vector<CommandEntry> commands = Catalogue(app);
            absl::PrintF("%s", *shell == "bash"  ? BashCompletion(commands)
                               : *shell == "zsh" ? ZshCompletion(commands)
                                                 : FishCompletion(commands));
            return absl::OkStatus();
          }};
}

Command AddManCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("man", "Print the manual page: synthvol man | man -l -");
  return {command, [&app] {
            absl::PrintF("%s",
                         ManPage("synthetic 3D CT volumes from a synthvol server", Catalogue(app)));
            return absl::OkStatus();
          }};
}

}  // namespace synthvol::client
