// The command-line manners that all binaries share: --help, --version, exit status 0 (fine),
// 1 (failed), 2 (bad usage), and errors as one line on stderr.
#ifndef SYNTHVOL_BASE_COMMAND_LINE_H_
#define SYNTHVOL_BASE_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace synthvol {

inline constexpr int kExitFine = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitBadUsage = 2;

// Adds --version, makes --help show defaults, and parses. Returns the exit status when the
// program should stop here (help, version, bad usage), nothing when it should go on.
std::optional<int> ParseCommandLine(CLI::App& app, int argc, const char* const* argv);

// Prints "PROGRAM: MESSAGE" on stderr as one line and returns the exit status for it:
// kExitBadUsage for INVALID_ARGUMENT, kExitFailed otherwise.
int ReportError(const std::string& program, const absl::Status& status);

// Returns `text` with line breaks and control characters replaced, so that it stays one line.
std::string OneLine(const std::string& text);

}  // namespace synthvol

#endif  // SYNTHVOL_BASE_COMMAND_LINE_H_
