// `synthvol models`: what a server can make.
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/cli/command.h"
#include "client/cli/connection.h"
#include "client/cli/json.h"

namespace synthvol::client {
namespace {

// "MODEL_STATE_READY" as "ready".
std::string StateName(v1::ModelState state) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::ModelState_Name(state), "MODEL_STATE_"));
}

void PrintTable(const std::vector<v1::Model>& models) {
  size_t width = 5;
  for (const v1::Model& model : models) width = std::max(width, model.name().size());
  const int name_width = static_cast<int>(std::min<size_t>(width, 32));
  absl::PrintF("%-*s %7s  %-9s %-8s %5s %7s  %-12s %s\n", name_width, "MODEL", "VERSION", "STATE",
               "NETWORK", "SIZE", "SPACING", "DIGEST", "LABELS");
  for (const v1::Model& model : models) {
    absl::PrintF(
        "%-*s %7d  %-9s %-8s %5d %7s  %-12s %s\n", name_width, model.name(), model.version(),
        StateName(model.state()), model.architecture(), model.size(),
        model.spacing_mm_size() == 3 ? absl::StrFormat("%.3g mm", model.spacing_mm(2)) : "-",
        model.digest().substr(0, 12), absl::StrJoin(model.labels(), ","));
    if (!model.state_reason().empty()) absl::PrintF("  %s\n", model.state_reason());
  }
}

}  // namespace

Command AddModelsCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("models", "List the models of a server");
  const auto flags = std::make_shared<ConnectionFlags>();
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "Print JSON instead of a table");
  flags->AddTo(*command);
  return {command, [flags, as_json]() -> absl::Status {
            absl::StatusOr<std::unique_ptr<Client>> client = flags->MakeClient();
            if (!client.ok()) return client.status();
            const absl::StatusOr<std::vector<v1::Model>> models =
                (*client)->ListModels(flags->Call());
            if (!models.ok()) return Explain(models.status());
            if (*as_json) {
              nlohmann::json list = nlohmann::json::array();
              for (const v1::Model& model : *models) list.push_back(ToJson(model));
              absl::PrintF("%s\n", list.dump(2));
            } else {
              PrintTable(*models);
            }
            return absl::OkStatus();
          }};
}

}  // namespace synthvol::client
