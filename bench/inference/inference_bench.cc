// Times one model: seconds a volume, seconds to the first slice, peak memory above the loaded
// model. Prints one JSON object; bench/inference/run makes the table.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/command_line.h"
#include "model/synthesizer.h"

namespace synthvol::model {
namespace {

constexpr const char* kProgram = "synthvol-inference-bench";

struct Arguments {
  std::string model;
  std::string device = "cpu";
  std::string mode = "fast";
  std::string precision = "fp32";
  int threads = 0;
  int repeats = 5;
  int concurrency = 1;
  uint64_t seed = 1;
  std::string output;
};

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// CPU time of all threads so far: means something on a busy machine too.
double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Reads a figure of /proc/self/status in bytes ("VmRSS", "VmHWM").
int64_t ReadStatus(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Timing {
  double total = 0.0;
  double first_slice = 0.0;
};

absl::StatusOr<Timing> RenderOnce(Synthesizer& model, const SynthesisInput& input) {
  Timing timing;
  const double begin = Seconds();
  const absl::Status status = model.Synthesize(input, OutputKind::kStored, [&](const Slab&) {
    if (timing.first_slice == 0.0) timing.first_slice = Seconds() - begin;
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  timing.total = Seconds() - begin;
  return timing;
}

// Seconds that `concurrency` callers take, each rendering `repeats` volumes.
double RenderBesideEachOther(Synthesizer& model, const SynthesisInput& input, int concurrency,
                             int repeats) {
  std::vector<std::thread> callers;
  callers.reserve(static_cast<size_t>(concurrency));
  const double begin = Seconds();
  for (int i = 0; i < concurrency; ++i) {
    callers.emplace_back([&] {
      for (int r = 0; r < repeats; ++r) RenderOnce(model, input).IgnoreError();
    });
  }
  for (std::thread& caller : callers) caller.join();
  return Seconds() - begin;
}

// Volumes a second of several callers.
double Throughput(Synthesizer& model, const SynthesisInput& input, const Arguments& arguments) {
  // The first round makes what each of them needs: workspaces, on a GPU recordings.
  RenderBesideEachOther(model, input, arguments.concurrency, 2);
  return arguments.concurrency * arguments.repeats /
         RenderBesideEachOther(model, input, arguments.concurrency, arguments.repeats);
}

absl::Status WriteUnit(Synthesizer& model, const SynthesisInput& input, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  absl::Status status = model.Synthesize(input, OutputKind::kUnit, [&](const Slab& slab) {
    file.write(reinterpret_cast<const char*>(slab.unit.data()),
               static_cast<std::streamsize>(slab.unit.size() * sizeof(float)));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return file.flush() ? absl::OkStatus()
                      : absl::UnavailableError(absl::StrCat(path, ": cannot write"));
}

absl::Status Measure(const Arguments& arguments) {
  auto device = ParseDevice(arguments.device);
  if (!device.ok()) return device.status();
  SynthesizerOptions options;
  options.device = *device;
  options.threads = arguments.threads;
  options.mode = arguments.mode == "fast" ? RenderMode::kFast : RenderMode::kBounded;
  options.cpu_bf16 = arguments.precision == "bf16";
  const double load_begin = Seconds();
  auto model = Synthesizer::Load(arguments.model, options);
  if (!model.ok()) return model.status();
  const double load_seconds = Seconds() - load_begin;

  auto latent = LatentFromSeed(arguments.seed, (*model)->config().latent_dim);
  if (!latent.ok()) return latent.status();
  SynthesisInput input;
  input.latent = *latent;
  input.precision = arguments.precision == "bf16"   ? Precision::kBf16
                    : arguments.precision == "tf32" ? Precision::kTf32
                                                    : Precision::kFp32;
  // The peak so far was loading's: begin anew.
  std::ofstream("/proc/self/clear_refs") << "5";
  const int64_t loaded = ReadStatus("VmRSS");
  auto cold = RenderOnce(**model, input);
  if (!cold.ok()) return cold.status();
  std::vector<double> totals;
  std::vector<double> firsts;
  const double cpu_begin = CpuSeconds();
  for (int i = 0; i < arguments.repeats; ++i) {
    auto timing = RenderOnce(**model, input);
    if (!timing.ok()) return timing.status();
    totals.push_back(timing->total);
    firsts.push_back(timing->first_slice);
  }
  const double cpu_seconds = (CpuSeconds() - cpu_begin) / arguments.repeats;
  const int64_t peak = ReadStatus("VmHWM") - loaded;
  const double size = static_cast<double>((*model)->config().size);
  nlohmann::ordered_json report{
      {"size", (*model)->config().size},
      {"mode", arguments.mode},
      {"precision", arguments.precision},
      {"load_seconds", load_seconds},
      {"cold_seconds", cold->total},
      {"seconds", Median(totals)},
      {"fastest_seconds", *std::min_element(totals.begin(), totals.end())},
      {"cpu_seconds", cpu_seconds},
      {"first_slice_seconds", Median(firsts)},
      {"voxels_per_second", size * size * size / Median(totals)},
      {"peak_bytes", peak},
      {"workspace_bytes", (*model)->EstimateWorkspaceBytes(input.precision)},
      {"weight_bytes", (*model)->WeightBytes()}};
  if (arguments.concurrency > 1) {
    report["concurrency"] = arguments.concurrency;
    report["volumes_per_second"] = Throughput(**model, input, arguments);
  }
  if (!arguments.output.empty()) {
    if (auto status = WriteUnit(**model, input, arguments.output); !status.ok()) return status;
  }
  std::cout << report.dump() << "\n";
  return absl::OkStatus();
}

int Main(int argc, const char* const* argv) {
  CLI::App app("Times one model and prints a JSON object.", kProgram);
  Arguments arguments;
  app.add_option("--model", arguments.model, "checkpoint folder")->required();
  app.add_option("--device", arguments.device, "auto, cpu, cuda or cuda:INDEX");
  app.add_option("--mode", arguments.mode, "fast or bounded")
      ->check(CLI::IsMember({"fast", "bounded"}));
  app.add_option("--precision", arguments.precision, "fp32, tf32 or bf16")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  app.add_option("--threads", arguments.threads, "threads a volume, 0: all cores");
  app.add_option("--repeats", arguments.repeats, "timed volumes")->check(CLI::PositiveNumber);
  app.add_option("--concurrency", arguments.concurrency, "callers at once, for volumes a second")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", arguments.seed, "seed of the latent");
  app.add_option("--output", arguments.output, "also write the volume, float32 on [-1, 1], raw");
  if (const auto status = ParseCommandLine(app, argc, argv)) return *status;
  if (auto status = Measure(arguments); !status.ok()) return ReportError(kProgram, status);
  return kExitFine;
}

}  // namespace
}  // namespace synthvol::model

int main(int argc, char** argv) { return synthvol::model::Main(argc, argv); }
