// The commands and flags of a CLI::App as data: the one source of --help, the shell completions and
// the man page.
//
// Pure functions.
#ifndef SYNTHVOL_CLIENT_CLI_FLAG_CATALOGUE_H_
#define SYNTHVOL_CLIENT_CLI_FLAG_CATALOGUE_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace synthvol::client {

struct FlagEntry {
  std::string name;  // "--seed"
  std::string group;
  std::string description;
  // "0..4294967295"; empty for a switch.
  std::string argument;
  // Allowed words, when there is a list.
  std::vector<std::string> words;
  std::string default_value;
  std::string environment;
  bool required = false;
  // Whether the argument is a file or folder.
  bool is_path = false;
};

struct CommandEntry {
  std::string name;
  std::string description;
  std::vector<FlagEntry> flags;
};

// Lists the subcommands of `app` with their flags, in the order in which --help shows them.
std::vector<CommandEntry> Catalogue(const CLI::App& app);

// Renders completions for bash, zsh or fish.
std::string BashCompletion(const std::vector<CommandEntry>& commands);
std::string ZshCompletion(const std::vector<CommandEntry>& commands);
std::string FishCompletion(const std::vector<CommandEntry>& commands);
// Renders synthvol(1) in man(7) macros.
std::string ManPage(const std::string& summary, const std::vector<CommandEntry>& commands);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_FLAG_CATALOGUE_H_
