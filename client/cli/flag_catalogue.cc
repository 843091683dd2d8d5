#include "client/cli/flag_catalogue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/version.h"

namespace synthvol::client {
namespace {

// CLI11 puts a check's words into the type name: "{a,b,c}" or "NAME:{a,b,c}".
std::vector<std::string> WordsOf(const std::string& type_name) {
  const size_t open = type_name.find('{');
  const size_t close = type_name.rfind('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  return absl::StrSplit(type_name.substr(open + 1, close - open - 1), ',');
}

FlagEntry Describe(const CLI::Option& option) {
  FlagEntry flag;
  flag.name = absl::StrCat("--", option.get_lnames().front());
  flag.group = option.get_group();
  flag.description = option.get_description();
  flag.environment = option.get_envname();
  flag.required = option.get_required();
  if (option.get_items_expected_max() == 0) return flag;
  flag.words = WordsOf(option.get_type_name());
  flag.argument = flag.words.empty() ? option.get_type_name() : absl::StrJoin(flag.words, "|");
  flag.is_path = flag.argument == "FILE" || flag.argument == "DIR";
  flag.default_value = option.get_default_str();
  if (flag.default_value == "[]" || flag.default_value == "\"\"") flag.default_value.clear();
  return flag;
}

std::string FlagNames(const CommandEntry& command) {
  return absl::StrJoin(command.flags, " ",
                       [](std::string* out, const FlagEntry& flag) { out->append(flag.name); });
}

std::string CommandNames(const std::vector<CommandEntry>& commands) {
  return absl::StrJoin(commands, " ", [](std::string* out, const CommandEntry& command) {
    out->append(command.name);
  });
}

std::string Quote(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// A hyphen that is to be typed; a leading dot or quote would be a request.
std::string Roff(const std::string& text) {
  std::string escaped = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}});
  if (!escaped.empty() && (escaped[0] == '.' || escaped[0] == '\'')) escaped.insert(0, "\\&");
  return escaped;
}

}  // namespace

std::vector<CommandEntry> Catalogue(const CLI::App& app) {
  std::vector<CommandEntry> commands;
  for (const CLI::App* subcommand : app.get_subcommands([](const CLI::App*) { return true; })) {
    CommandEntry command{subcommand->get_name(), subcommand->get_description(), {}};
    for (const CLI::Option* option : subcommand->get_options()) {
      if (!option->get_lnames().empty()) command.flags.push_back(Describe(*option));
    }
    commands.push_back(std::move(command));
  }
  return commands;
}

std::string BashCompletion(const std::vector<CommandEntry>& commands) {
  std::string text =
      "# bash completion for synthvol: eval \"$(synthvol completion bash)\"\n_synthvol() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  local command=${COMP_WORDS[1]}\n  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n";
  absl::StrAppend(
      &text, "    mapfile -t COMPREPLY < <(compgen -W '", CommandNames(commands),
      " --help --version' -- \"$current\")\n    return\n  fi\n  case \"$command $previous\" in\n");
  for (const CommandEntry& command : commands) {
    for (const FlagEntry& flag : command.flags) {
      const std::string pattern = absl::StrCat("    '", command.name, " ", flag.name, "') ");
      if (!flag.words.empty()) {
        absl::StrAppend(&text, pattern, "mapfile -t COMPREPLY < <(compgen -W '",
                        absl::StrJoin(flag.words, " "), "' -- \"$current\"); return ;;\n");
      } else if (flag.is_path) {
        absl::StrAppend(&text, pattern,
                        "mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return ;;\n");
      } else if (!flag.argument.empty()) {
        absl::StrAppend(&text, pattern, "return ;;\n");
      }
    }
  }
  absl::StrAppend(&text, "  esac\n  case $command in\n");
  for (const CommandEntry& command : commands) {
    absl::StrAppend(&text, "    ", command.name, ") mapfile -t COMPREPLY < <(compgen -W '",
                    FlagNames(command), command.name == "completion" ? " bash zsh fish" : "",
                    "' -- \"$current\") ;;\n");
  }
  absl::StrAppend(&text, "  esac\n}\ncomplete -F _synthvol synthvol\n");
  return text;
}

std::string ZshCompletion(const std::vector<CommandEntry>& commands) {
  std::string text = "#compdef synthvol\n_synthvol() {\n  local -a commands=(\n";
  const auto plain = [](const std::string& help) {
    return absl::StrReplaceAll(help, {{"[", "("}, {"]", ")"}, {":", "\\:"}});
  };
  for (const CommandEntry& command : commands) {
    absl::StrAppend(&text, "    ",
                    Quote(absl::StrCat(command.name, ":", plain(command.description))), "\n");
  }
  absl::StrAppend(
      &text,
      "  )\n  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
      "  local command=$words[2]\n  shift words; (( CURRENT-- ))\n  case $command in\n");
  for (const CommandEntry& command : commands) {
    absl::StrAppend(&text, "    ", command.name, ") _arguments");
    for (const FlagEntry& flag : command.flags) {
      std::string spec = absl::StrCat(flag.name, "[", plain(flag.description), "]");
      if (!flag.argument.empty()) {
        const std::string action = !flag.words.empty()
                                       ? absl::StrCat("(", absl::StrJoin(flag.words, " "), ")")
                                   : flag.is_path ? "_files"
                                                  : " ";
        absl::StrAppend(&spec, ":", plain(flag.argument), ":", action);
      }
      absl::StrAppend(&text, " \\\n      ", Quote(spec));
    }
    if (command.name == "completion")
      absl::StrAppend(&text, " \\\n      '1:shell:(bash zsh fish)'");
    absl::StrAppend(&text, " ;;\n");
  }
  absl::StrAppend(&text, "  esac\n}\ncompdef _synthvol synthvol\n");
  return text;
}

std::string FishCompletion(const std::vector<CommandEntry>& commands) {
  std::string text = "# fish completion for synthvol\ncomplete -c synthvol -f\n";
  for (const CommandEntry& command : commands) {
    absl::StrAppend(&text, "complete -c synthvol -n __fish_use_subcommand -a ", command.name,
                    " -d ", Quote(command.description), "\n");
    for (const FlagEntry& flag : command.flags) {
      absl::StrAppend(&text, "complete -c synthvol -n '__fish_seen_subcommand_from ", command.name,
                      "' -l ", flag.name.substr(2), flag.argument.empty() ? "" : " -r",
                      flag.is_path ? " -F" : "");
      if (!flag.words.empty())
        absl::StrAppend(&text, " -a ", Quote(absl::StrJoin(flag.words, " ")));
      absl::StrAppend(&text, " -d ", Quote(flag.description), "\n");
    }
  }
  absl::StrAppend(
      &text,
      "complete -c synthvol -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n");
  return text;
}

std::string ManPage(const std::string& summary, const std::vector<CommandEntry>& commands) {
  std::string text = absl::StrCat(
      ".TH SYNTHVOL 1 \"\" \"synthvol ", Version(), "\" \"User Commands\"\n.SH NAME\nsynthvol \\- ",
      Roff(summary), "\n.SH SYNOPSIS\n.B synthvol\n.I COMMAND\n[\\fIFLAGS\\fR]\n.SH COMMANDS\n");
  for (const CommandEntry& command : commands) {
    absl::StrAppend(&text, ".SS synthvol ", command.name, "\n", Roff(command.description), ".\n");
    for (const FlagEntry& flag : command.flags) {
      absl::StrAppend(&text, ".TP\n\\fB", Roff(flag.name), "\\fR");
      if (!flag.argument.empty()) absl::StrAppend(&text, " \\fI", Roff(flag.argument), "\\fR");
      absl::StrAppend(&text, "\n", Roff(flag.description), ".");
      if (flag.required) absl::StrAppend(&text, " Required.");
      if (!flag.default_value.empty())
        absl::StrAppend(&text, " Default: ", Roff(flag.default_value), ".");
      if (!flag.environment.empty())
        absl::StrAppend(&text, " Environment: ", Roff(flag.environment), ".");
      absl::StrAppend(&text, "\n");
    }
  }
  absl::StrAppend(
      &text,
      ".SH EXIT STATUS\n0 when all went well, 1 when something failed, 2 for bad usage. The reason "
      "is one "
      "line on standard error.\n.SH FILES\n.TP\n~/.config/synthvol/config.json\nProfiles: "
      "{\"default\": NAME, \"profiles\": {NAME: {FLAG: VALUE}}}, with the connection flags' names "
      "without dashes in front. A flag wins over the environment, that over the profile.\n");
  return text;
}

}  // namespace synthvol::client
