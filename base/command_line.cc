#include "base/command_line.h"

#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/version.h"

namespace synthvol {
namespace {

// Takes the variables' present values as the defaults that --help prints, in subcommands too.
void CaptureDefaults(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) option->capture_default_str();
  for (CLI::App* subcommand : app.get_subcommands({})) CaptureDefaults(*subcommand);
}

}  // namespace

std::optional<int> ParseCommandLine(CLI::App& app, int argc, const char* const* argv) {
  app.set_version_flag("--version", absl::StrCat(app.get_name(), " ", Build()));
  CaptureDefaults(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    std::cerr << app.get_name() << ": " << OneLine(error.what()) << " (see --help)\n";
    return kExitBadUsage;
  }
  return std::nullopt;
}

int ReportError(const std::string& program, const absl::Status& status) {
  std::cerr << program << ": " << OneLine({status.message().data(), status.message().size()})
            << "\n";
  return absl::IsInvalidArgument(status) ? kExitBadUsage : kExitFailed;
}

std::string OneLine(const std::string& text) {
  std::string line;
  line.reserve(text.size());
  for (const char c : text) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (!control) {
      line.push_back(c);
    } else if (!line.empty() && line.back() != ' ') {
      line.push_back(' ');
    }
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

}  // namespace synthvol
