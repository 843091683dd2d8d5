// `synthvol status`: health, queue, workers and models of a server.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/command_line.h"
#include "client/cli/command.h"
#include "client/cli/connection.h"
#include "client/cli/json.h"

namespace synthvol::client {
namespace {

const char* HealthName(ServingStatus health) {
  switch (health) {
    case ServingStatus::kServing:
      return "SERVING";
    case ServingStatus::kNotServing:
      return "NOT_SERVING";
    default:
      return "UNKNOWN";
  }
}

void PrintStatus(const v1::GetStatusResponse& status) {
  absl::PrintF("build     %s, up %.0f s%s\n", status.build(), status.uptime_seconds(),
               status.draining() ? ", draining" : "");
  absl::PrintF("queue     %d of %d requests, %.1f of %.1f MB, estimated wait %.1f s\n",
               status.queued(), status.queue_limit(), status.queued_bytes() / 1e6,
               status.queue_bytes_limit() / 1e6, status.estimated_wait_seconds());
  absl::PrintF("running   %d\n", status.running());
  for (const v1::WorkerStatus& worker : status.workers()) {
    absl::PrintF(
        "worker    %s %s%s\n", worker.device(), worker.state(),
        worker.request_id().empty()
            ? ""
            : absl::StrFormat(", %s for %.1f s", worker.request_id(), worker.running_seconds()));
  }
  for (const v1::TenantStatus& tenant : status.tenants()) {
    absl::PrintF("tenant    %s: %d queued, %d running, %d completed, %d refused\n", tenant.tenant(),
                 tenant.queued(), tenant.running(), tenant.completed(), tenant.refused());
  }
  for (const v1::Model& model : status.models()) {
    absl::PrintF("model     %s@%d %s\n", model.name(), model.version(),
                 v1::ModelState_Name(model.state()));
  }
  for (const auto& [code, count] : status.finished_by_code()) {
    absl::PrintF("finished  %s %d\n", code, count);
  }
}

absl::Status RunStatus(ConnectionFlags& flags, bool as_json) {
  absl::StatusOr<std::unique_ptr<Client>> client = flags.MakeClient();
  if (!client.ok()) return client.status();
  const absl::StatusOr<ServingStatus> health = (*client)->CheckHealth("", flags.Call());
  if (!health.ok()) return Explain(health.status());
  // Details need the scope "admin"; health does not.
  const absl::StatusOr<v1::GetStatusResponse> details = (*client)->GetStatus(flags.Call());
  if (as_json) {
    nlohmann::json report = {{"health", HealthName(*health)}};
    if (details.ok()) {
      report["status"] = ToJson(*details);
    } else {
      report["status_error"] = Explain(details.status()).message();
    }
    absl::PrintF("%s\n", report.dump(2));
  } else {
    absl::PrintF("health    %s\n", HealthName(*health));
    if (details.ok()) {
      PrintStatus(*details);
    } else {
      absl::PrintF("details   %s\n", OneLine(std::string(Explain(details.status()).message())));
    }
  }
  std::fflush(stdout);
  if (*health == ServingStatus::kServing) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("health is ", HealthName(*health)));
}

}  // namespace

Command AddStatusCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "status", "Show health, queue, workers and models; exit status 0 when serving");
  const auto flags = std::make_shared<ConnectionFlags>();
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "Print JSON");
  flags->AddTo(*command);
  return {command, [flags, as_json] { return RunStatus(*flags, *as_json); }};
}

}  // namespace synthvol::client
