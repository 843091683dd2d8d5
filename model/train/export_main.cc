// synthvol-export: puts a checkpoint's generator into a model repository.
#include <cstdio>
#include <string>
#include <vector>

#include "base/command_line.h"
#include "model/train/exporter.h"

namespace {

// "--version V" is the model's version; "--version" alone asks for the program's, as everywhere.
std::vector<std::string> RenameModelVersion(int argc, char** argv) {
  std::vector<std::string> arguments(argv, argv + argc);
  const std::string flag = "--version";
  for (size_t i = 1; i < arguments.size(); ++i) {
    std::string& argument = arguments[i];
    const bool has_value = argument == flag && i + 1 < arguments.size();
    if (has_value || argument.rfind(flag + "=", 0) == 0) argument.replace(0, 2, "--model-");
  }
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Exports a training checkpoint to REPOSITORY/NAME/VERSION/.", "synthvol-export");
  synthvol::model::ExportRequest request;
  app.add_option("--checkpoint", request.checkpoint,
                 "RUN/checkpoints/STEP, or RUN for its newest checkpoint")
      ->required();
  app.add_option("--repository", request.repository, "Model repository, created when absent")
      ->required();
  app.add_option("--name", request.name, "Model name: letters, digits, '.', '_', '-'")->required();
  app.add_option("--model-version", request.version,
                 "Positive number, also as --version V (default: the next free one)");
  app.add_flag("--ema", request.ema, "Take the averaged generator (synthvol-train --ema)");
  app.add_option("--evaluation", request.evaluation,
                 "JSON of synthvol-eval report --gate on this checkpoint: recorded beside the "
                 "weights; a failed gate refuses the export");
  app.add_flag("--record-failure", request.record_failure,
               "Exports although the gate failed, and records that");
  const std::vector<std::string> arguments = RenameModelVersion(argc, argv);
  std::vector<const char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(argument.c_str());
  if (const auto status = synthvol::ParseCommandLine(app, argc, pointers.data())) return *status;
  const auto folder = synthvol::model::ExportModel(request);
  if (!folder.ok()) return synthvol::ReportError("synthvol-export", folder.status());
  std::printf("%s\n", folder->c_str());
  return synthvol::kExitFine;
}
