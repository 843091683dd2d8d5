// report.
#include <iostream>
#include <memory>

#include "base/atomic_file.h"
#include "base/command_line.h"
#include "model/eval/commands.h"
#include "model/eval/evaluator_flags.h"
#include "model/eval/figures.h"
#include "model/eval/report/report.h"

namespace synthvol::model {
namespace {

absl::StatusOr<int> RunReport(const ReportOptions& options, const std::string& output) {
  const auto data = EvaluateModels(options);
  if (!data.ok()) return data.status();
  if (auto status = WriteFileAtomically(output, ToHtml(*data)); !status.ok()) return status;
  if (!options.evaluator.json.empty()) {
    const std::string text = ToJson(*data).dump(2) + "\n";
    if (auto status = WriteFileAtomically(options.evaluator.json, text); !status.ok()) {
      return status;
    }
  }
  for (const nlohmann::json& model : data->models) {
    std::cout << model["label"].get<std::string>() << "\n" << InWords(model);
    if (model["gate"].is_object()) std::cout << GateInWords(model["gate"]);
  }
  std::cout << output << "\n";
  return AnyGateFailed(*data) ? kExitFailed : kExitFine;
}

}  // namespace

void AddReportCommand(CLI::App& app, std::vector<Command>& commands) {
  auto options = std::make_shared<ReportOptions>();
  auto output = std::make_shared<std::string>();
  CLI::App* const command = app.add_subcommand(
      "report", "all figures of one generator, or of two side by side, as one HTML file");
  AddRealFlag(*command, options->evaluator, /*required=*/true);
  command->add_option("--held-out", options->evaluator.held_out,
                      "real volumes outside training; default: the data set's validation split");
  AddSyntheticFlags(*command, options->evaluator);
  command->add_option("--label", options->label, "what --synthetic is called in the report");
  command->add_option("--other", options->other, "a second generator, to compare with");
  command->add_option("--other-label", options->other_label, "what --other is called");
  command->add_option("--weights", options->evaluator.weights,
                      "weights of the 3D ResNet-50 (.safetensors); without it, random ones");
  command->add_option("--ranges", options->evaluator.ranges, "JSON file of plausibility ranges");
  command->add_option("--pairs", options->evaluator.pairs, "pairs of volumes for MS-SSIM")
      ->check(CLI::PositiveNumber);
  AddResamplingFlags(*command, options->evaluator);
  AddResultFlags(*command, options->evaluator);
  command->add_option("--study", options->study, "figures of study analyze (--json) to include");
  command->add_option("--profile", options->profile,
                      "speed and memory tables to include, from synthvol-train profile --json");
  command->add_option("--output", *output, "HTML file to write")->required();
  commands.push_back({command, [=] { return RunReport(*options, *output); }});
}

}  // namespace synthvol::model
