#include "model/train/run_log.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/atomic_file.h"
#include "imaging/montage.h"

namespace synthvol::model {
namespace {

constexpr int64_t kPreviewVolumes = 3;

// Keeps the lines of iterations up to `first`; a torn last line goes too.
absl::Status TruncateMetrics(const std::string& path, int64_t first) {
  if (!std::filesystem::exists(path)) return absl::OkStatus();
  auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  std::string kept;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const auto entry = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
    if (!entry.is_object() || entry.value("iteration", first + 1) > first) break;
    absl::StrAppend(&kept, line, "\n");
  }
  return WriteFileAtomically(path, kept);
}

}  // namespace

RunLog::RunLog(const TrainConfig& config, int64_t first, std::FILE* metrics,
               TensorBoardWriter events)
    : config_(config),
      metrics_(metrics),
      events_(std::move(events)),
      bar_("training", "iterations", static_cast<uint64_t>(config.iterations),
           static_cast<uint64_t>(first)) {}

absl::StatusOr<std::unique_ptr<RunLog>> RunLog::Open(const TrainConfig& config, int64_t first) {
  for (const char* folder : {"/previews", "/tensorboard"}) {
    std::error_code error;
    std::filesystem::create_directories(config.output + folder, error);
    if (error) {
      return absl::InternalError(absl::StrCat(config.output, folder, ": ", error.message()));
    }
  }
  const std::string path = config.output + "/metrics.jsonl";
  if (auto status = TruncateMetrics(path, first); !status.ok()) return status;
  auto events = TensorBoardWriter::Create(config.output + "/tensorboard", first);
  if (!events.ok()) return events.status();
  std::FILE* metrics = std::fopen(path.c_str(), "a");
  if (metrics == nullptr) {
    return absl::InternalError(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
  }
  return std::unique_ptr<RunLog>(new RunLog(config, first, metrics, *std::move(events)));
}

absl::Status RunLog::Iteration(int64_t done, int64_t crop, const std::vector<LossValue>& losses,
                               double seconds) {
  std::string note;
  std::vector<std::pair<std::string, double>> scalars;
  nlohmann::ordered_json entry;
  entry["iteration"] = done;
  entry["crop"] = crop;
  for (const LossValue& loss : losses) {
    absl::StrAppendFormat(&note, "%s%s %.3f", note.empty() ? "" : " ", loss.name, loss.value);
    scalars.emplace_back("loss/" + loss.name, loss.value);
    entry[loss.name] = loss.value;
  }
  entry["seconds"] = seconds;
  bar_.Update(static_cast<uint64_t>(done), note);
  if (done % config_.log_every != 0 && done != config_.iterations) return absl::OkStatus();
  const std::string line = entry.dump() + "\n";
  if (std::fwrite(line.data(), 1, line.size(), metrics_.get()) != line.size() ||
      std::fflush(metrics_.get()) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat(config_.output, "/metrics.jsonl: cannot write: ", std::strerror(errno)));
  }
  scalars.emplace_back("seconds_per_iteration", seconds);
  return events_.AddScalars(done, scalars);
}

absl::Status RunLog::Preview(int64_t done, const Generator& generator) {
  const at::NoGradGuard no_grad;
  const NetworkShape& shape = generator.shape();
  const at::Device device = generator.net()["fc1.weight"].device();
  std::vector<imaging::MidPlanes> planes;
  for (int64_t i = 0; i < kPreviewVolumes; ++i) {
    // The latent that a server renders for seed i.
    const at::Tensor latent =
        at::randn({1, shape.latent_dim}, at::detail::createCPUGenerator(static_cast<uint64_t>(i)),
                  at::kFloat);
    at::Tensor one_hot;
    if (shape.num_classes > 0) {
      one_hot = at::one_hot(at::full({1}, i % shape.num_classes, at::kLong), shape.num_classes)
                    .to(device, at::kFloat);
    }
    const at::Tensor volume =
        generator.Render(generator.Embed(latent.to(device), one_hot)).to(at::kCPU).contiguous();
    planes.emplace_back(imaging::CentredCube(shape.size, config_.model.spacing));
    const auto voxels = static_cast<size_t>(volume.numel());
    planes.back().Append(absl::MakeConstSpan(volume.data_ptr<float>(), voxels));
  }
  const imaging::GrayImage picture =
      imaging::DrawMontage(planes, imaging::Window{-1.0, 1.0}, /*tile=*/256);
  const std::string path = absl::StrFormat("%s/previews/%07d.png", config_.output, done);
  if (auto status = imaging::WritePng(path, picture); !status.ok()) return status;
  auto png = ReadFile(path);
  if (!png.ok()) return png.status();
  return events_.AddImage(done, "preview", picture.width, picture.height, *png);
}

void RunLog::Finish() { bar_.Finish(); }

}  // namespace synthvol::model
