// `synthvol bench`: open- and closed-loop load with latency percentiles.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/connection.h"
#include "client/cli/interrupt.h"
#include "client/cli/load.h"

namespace synthvol::client {
namespace {

using nlohmann::json;

struct BenchFlags {
  ConnectionFlags connection;
  RequestFlags request;
  LoadOptions load;
  std::string format = "int16";
  double duration_seconds = 0;
  bool as_json = false;
};

json Percentiles(const std::vector<double>& sorted) {
  json result = {{"max", sorted.empty() ? 0.0 : sorted.back()}};
  for (const int percent : {50, 90, 95, 99}) {
    result["p" + std::to_string(percent)] = Percentile(sorted, percent / 100.0);
  }
  return result;
}

json Describe(const BenchFlags& flags, const LoadReport& report) {
  const double seconds = std::max(report.seconds, 1e-9);
  return {{"loop", flags.load.rate > 0 ? "open" : "closed"},
          {"concurrency", flags.load.concurrency},
          {"rate", flags.load.rate},
          {"volumes_per_request", flags.request.count()},
          {"seconds", report.seconds},
          {"requests", report.sent},
          {"succeeded", report.succeeded},
          {"errors", report.errors},
          {"requests_per_second", static_cast<double>(report.succeeded) / seconds},
          {"volumes_per_second", static_cast<double>(report.volumes) / seconds},
          {"megabytes_per_second", static_cast<double>(report.bytes) / 1e6 / seconds},
          {"latency_seconds", Percentiles(report.latencies)},
          {"first_slice_seconds", Percentiles(report.first_slices)},
          {"refusal_seconds", Percentiles(report.refusals)}};
}

void PrintPercentiles(const char* label, const json& values) {
  absl::PrintF("%-12s p50 %.3f  p90 %.3f  p95 %.3f  p99 %.3f  max %.3f s\n", label,
               values["p50"].get<double>(), values["p90"].get<double>(),
               values["p95"].get<double>(), values["p99"].get<double>(),
               values["max"].get<double>());
}

void Print(const json& result) {
  absl::PrintF("%s loop, %d requests in %.1f s, %d succeeded\n", result["loop"].get<std::string>(),
               result["requests"].get<uint64_t>(), result["seconds"].get<double>(),
               result["succeeded"].get<uint64_t>());
  absl::PrintF("%-12s %.2f requests/s, %.2f volumes/s, %.1f MB/s\n", "throughput",
               result["requests_per_second"].get<double>(),
               result["volumes_per_second"].get<double>(),
               result["megabytes_per_second"].get<double>());
  PrintPercentiles("latency", result["latency_seconds"]);
  PrintPercentiles("first slice", result["first_slice_seconds"]);
  if (result["refusal_seconds"]["max"].get<double>() > 0) {
    PrintPercentiles("refusals", result["refusal_seconds"]);
  }
  for (const auto& [code, count] : result["errors"].items()) {
    absl::PrintF("%-12s %s %d\n", "errors", code, count.get<uint64_t>());
  }
}

absl::Status RunBench(BenchFlags& flags) {
  absl::StatusOr<v1::SynthesizeRequest> request = flags.request.Request();
  if (!request.ok()) return request.status();
  request->set_count(static_cast<uint32_t>(flags.request.count()));
  request->set_format(flags.format == "dicom"     ? v1::VOLUME_FORMAT_DICOM
                      : flags.format == "float32" ? v1::VOLUME_FORMAT_FLOAT32
                                                  : v1::VOLUME_FORMAT_INT16);
  if (flags.duration_seconds > 0) flags.load.duration = absl::Seconds(flags.duration_seconds);
  if (flags.load.requests == 0 && flags.duration_seconds == 0) flags.load.requests = 20;
  InterruptGuard interrupt;
  // Each request counts as the server answered it.
  flags.connection.DisableRetries();
  absl::StatusOr<std::unique_ptr<Client>> client = flags.connection.MakeClient();
  if (!client.ok()) return client.status();
  CallOptions call = flags.connection.Call();
  call.cancellation = interrupt.cancellation();
  // A wrong name should not be measured a thousand times.
  const absl::StatusOr<v1::Model> model = (*client)->GetModel(request->model(), call);
  if (!model.ok()) return Explain(model.status());
  const json result = Describe(flags, RunLoad(**client, *request, flags.load, call));
  if (flags.as_json) {
    absl::PrintF("%s\n", result.dump(2));
  } else {
    Print(result);
  }
  return absl::OkStatus();
}

}  // namespace

Command AddBenchCommand(CLI::App& app) {
  const auto flags = std::make_shared<BenchFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Put load on a server and measure it (volumes are thrown away)");
  flags->request.AddTo(*command);
  flags->request.AddDigestTo(*command);
  command->add_option("--format", flags->format, "What to ask for")
      ->check(CLI::IsMember({"int16", "float32", "dicom"}))
      ->type_name("WORD");
  command
      ->add_option("--concurrency", flags->load.concurrency,
                   "Closed loop: requests under way at any time; with --rate: the most at once")
      ->check(CLI::Range(1, 4096).description(""))
      ->type_name("1..4096");
  command
      ->add_option("--rate", flags->load.rate,
                   "Open loop: requests per second, at random times; 0: closed loop")
      ->check(CLI::Range(0.0, 1e6).description(""))
      ->type_name("R");
  command
      ->add_option("--requests", flags->load.requests,
                   "Stop after so many (20 unless --duration is given)")
      ->type_name("N");
  command->add_option("--duration", flags->duration_seconds, "Stop sending after so many seconds")
      ->check(CLI::Range(0.0, 1e6).description(""))
      ->type_name("SECONDS");
  command->add_option("--warmup", flags->load.warmup, "Requests before the clock starts")
      ->type_name("N");
  command->add_flag("--json", flags->as_json, "Print JSON");
  flags->connection.AddTo(*command);
  return {command, [flags] { return RunBench(*flags); }};
}

}  // namespace synthvol::client
