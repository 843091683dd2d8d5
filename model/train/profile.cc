#include "model/train/profile.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/atomic_file.h"
#include "model/train/device.h"
#include "model/train/train_step.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Returns the most memory held so far: of the GPU's allocator, otherwise of the process.
int64_t PeakBytes(const at::Device& device) {
  if (!device.is_cpu()) {
    const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
    constexpr auto kAggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return stats.allocated_bytes[kAggregate].peak;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

// Returns the bytes of parameters, of moments, and of the largest network's gradients.
int64_t StateBytes(Networks& networks, TrainStep& step) {
  int64_t elements = networks.ParameterCount();
  int64_t largest = 0;
  for (auto& [letter, net] : networks.All()) {
    largest = std::max(largest, net->ParameterCount());
    for (const auto& moment : step.optimizers().at(letter).Moments()) {
      elements += moment.tensor.numel();
    }
  }
  return (elements + largest) * static_cast<int64_t>(sizeof(float));
}

MicroBatch RandomBatch(const TrainConfig& config, const at::Device& device) {
  const int64_t n = config.batch_size;
  const int64_t s = config.model.size;
  MicroBatch batch;
  batch.images = (at::rand({n, 1, s, s, s}) * 2.0 - 1.0).to(device);
  if (config.model.num_classes > 0) batch.labels = at::zeros({n}, at::kLong).to(device);
  for (at::Tensor* noise : {&batch.noise_discriminator, &batch.noise_generator, &batch.noise_crf}) {
    *noise = at::randn({n, config.model.latent_dim}).to(device);
  }
  return batch;
}

json Measure(const TrainConfig& config, int64_t iterations, const at::Device& device) {
  // The process before it holds anything: on the CPU its libraries. A GPU's allocator has not
  // begun.
  const int64_t base = device.is_cpu() ? PeakBytes(device) : 0;
  Networks networks(config.model);
  networks.Initialise(config.seed);
  networks.To(device);
  TrainStep step(networks, config.step);
  const MicroBatch batch = RandomBatch(config, device);
  step.Run({batch}, /*crop=*/0, /*iteration=*/0);
  double best_wall = 1e300;
  double best_cpu = 1e300;
  for (int64_t i = 1; i <= iterations; ++i) {
    const int64_t crop = (11 * i) % (networks.shape.MaxCrop() + 1);
    const absl::Time begin = absl::Now();
    const double cpu_begin = CpuSeconds();
    step.Run({batch}, crop, i);
    best_wall = std::min(best_wall, absl::ToDoubleSeconds(absl::Now() - begin));
    best_cpu = std::min(best_cpu, CpuSeconds() - cpu_begin);
  }
  return {{"arch", ToString(config.model.architecture)},
          {"size", config.model.size},
          {"batch_size", config.batch_size},
          {"threads", at::get_num_threads()},
          {"device", device.str()},
          {"precision", config.step.bf16 ? "bf16" : "fp32"},
          {"memory", config.step.low_memory ? "low" : "fast"},
          {"parameters", networks.ParameterCount()},
          {"seconds_per_iteration", best_wall},
          {"cpu_seconds_per_iteration", best_cpu},
          {"base_bytes", base},
          {"state_bytes", StateBytes(networks, step)},
          {"peak_bytes", PeakBytes(device)}};
}

// Runs this program again for one cell and returns what it prints.
absl::StatusOr<json> RunCell(const ProfileRequest& request, const std::string& architecture,
                             int64_t batch_size) {
  const TrainConfig& c = request.config;
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
  if (length <= 0) return absl::InternalError("cannot read /proc/self/exe");
  const std::string line = absl::StrCat(
      "exec '", absl::string_view(self, static_cast<size_t>(length)), "' profile --here --arch ",
      architecture, " --size ", c.model.size, " --channels ", c.model.channels, " --latent-dim ",
      c.model.latent_dim, " --num-classes ", c.model.num_classes, " --crf-nodes ",
      c.model.crf_nodes == CrfNodes::kDepth ? "depth" : "released", " --batch-size ", batch_size,
      " --iterations ", request.iterations, " --threads ", c.threads, " --device ", c.device,
      c.step.bf16 ? " --precision bf16" : "", c.step.low_memory ? " --memory low" : "",
      c.step.cuda_graph ? "" : " --no-cuda-graph", c.deterministic ? "" : " --no-deterministic");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(line.c_str(), "r"), pclose);
  if (pipe == nullptr) return absl::InternalError("cannot start a process");
  std::string output;
  char buffer[4096];
  while (const size_t read = std::fread(buffer, 1, sizeof(buffer), pipe.get())) {
    output.append(buffer, read);
  }
  json cell = json::parse(output, nullptr, /*allow_exceptions=*/false);
  if (!cell.is_object()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(architecture, " at batch ", batch_size, ": the run failed (out of memory?)"));
  }
  return cell;
}

}  // namespace

absl::Status ProfileHere(const TrainConfig& config, int64_t iterations) {
  if (auto status = Validate(config.model); !status.ok()) return status;
  try {
    auto device = FindDevice(config.device);
    if (!device.ok()) return device.status();
    if (config.threads > 0) at::set_num_threads(config.threads);
    at::globalContext().setDeterministicCuDNN(config.deterministic);
    std::printf("%s\n", Measure(config, iterations, *device).dump().c_str());
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("profile: ", error.what()));
  }
}

absl::Status ProfileTable(const ProfileRequest& request) {
  json cells = json::array();
  std::printf("| networks at %ld | parameters, millions |",
              static_cast<long>(request.config.model.size));
  for (const int64_t batch : request.batch_sizes) {
    std::printf(" peak GiB, batch %ld |", static_cast<long>(batch));
  }
  std::printf(" it/s, batch %ld |\n|---|---|", static_cast<long>(request.batch_sizes.front()));
  for (size_t i = 0; i <= request.batch_sizes.size(); ++i) std::printf("---|");
  std::printf("\n");
  for (const std::string& architecture : request.architectures) {
    std::string row;
    std::string rate;
    double millions = 0;
    for (const int64_t batch : request.batch_sizes) {
      auto cell = RunCell(request, architecture, batch);
      if (!cell.ok()) return cell.status();
      millions = cell->at("parameters").get<double>() / 1e6;
      absl::StrAppendFormat(&row, " %.2f |", cell->at("peak_bytes").get<double>() / (1 << 30));
      if (rate.empty())
        rate = absl::StrFormat("%.3f", 1.0 / cell->at("seconds_per_iteration").get<double>());
      cells.push_back(*std::move(cell));
    }
    std::printf("| %s | %.3f |%s %s |\n", architecture.c_str(), millions, row.c_str(),
                rate.c_str());
    std::fflush(stdout);
  }
  if (request.json.empty()) return absl::OkStatus();
  return WriteFileAtomically(request.json, cells.dump(2) + "\n");
}

}  // namespace synthvol::model
