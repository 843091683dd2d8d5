#include "model/train/exporter.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "model/checkpoint/checkpoint.h"
#include "model/eval/gate/evaluation_record.h"
#include "model/train/training_checkpoint.h"

namespace synthvol::model {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameLength = 64;
constexpr uint64_t kMaxEvaluationBytes = 64 << 20;

absl::Status CheckName(const std::string& name) {
  const bool fits = !name.empty() && name.size() <= kMaxNameLength && name[0] != '.' &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
                             c == '_' || c == '-';
                    });
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--name is '", name, "'; expected up to ",
                                                 kMaxNameLength,
                                                 " letters, digits, '.', '_', '-'"));
}

int64_t NextVersion(const std::string& model) {
  int64_t newest = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(model, error)) {
    int64_t version = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &version)) {
      newest = std::max(newest, version);
    }
  }
  return newest + 1;
}

absl::StatusOr<std::string> FindCheckpoint(const std::string& path) {
  if (fs::exists(path + "/config.json")) return path;
  const std::vector<int64_t> steps = ListCheckpoints(path);
  if (!steps.empty()) return CheckpointFolder(path, steps.back());
  return absl::NotFoundError(absl::StrCat(
      "--checkpoint ", path, ": no config.json in it; expected RUN/checkpoints/STEP or RUN"));
}

// Writes into `config` whether the generator may serve, or refuses one that should not.
absl::Status ApplyGate(const ExportRequest& request, const Checkpoint& checkpoint,
                       ModelConfig& config) {
  if (request.evaluation.empty()) {
    if (request.record_failure) {
      return absl::InvalidArgumentError("--record-failure: expected --evaluation FILE beside it");
    }
    // A version that is exported again keeps what is known of its weights.
    config.provenance.emplace("gate", kGateNotEvaluated);
    return absl::OkStatus();
  }
  if (request.ema) {
    return absl::InvalidArgumentError(
        "--evaluation: it measured the last weights, not the averaged ones; expected an export "
        "with --ema, an evaluation of that version, and an export of it with --evaluation");
  }
  const auto text = ReadFile(request.evaluation, kMaxEvaluationBytes);
  if (!text.ok()) return text.status();
  const auto record =
      ParseEvaluation(*text, checkpoint.digest, "--evaluation " + request.evaluation);
  if (!record.ok()) return record.status();
  if (!record->passed && !request.record_failure) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--evaluation ", request.evaluation, ": this generator should not serve: ", record->checks,
        "; expected a passed gate, or --record-failure"));
  }
  Record(*record, config);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ExportModel(const ExportRequest& request) {
  if (auto status = CheckName(request.name); !status.ok()) return status;
  if (request.version && *request.version < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--version is ", *request.version, "; expected a positive number"));
  }
  auto source = FindCheckpoint(request.checkpoint);
  if (!source.ok()) return source.status();
  auto checkpoint = OpenCheckpoint(*source);
  if (!checkpoint.ok()) return checkpoint.status();
  if (auto status = CheckGeneratorWeights(*checkpoint); !status.ok()) return status;

  ModelConfig config = checkpoint->config;
  if (auto status = ApplyGate(request, *checkpoint, config); !status.ok()) return status;

  std::optional<SafetensorsFile> training;
  if (request.ema) {
    auto opened = SafetensorsFile::Open(*source + "/training.safetensors");
    if (!opened.ok()) return opened.status();
    training.emplace(*std::move(opened));
  }
  // An exported version that is exported again knows which weights it holds.
  config.provenance.emplace("weights", "last");
  if (request.ema) config.provenance["weights"] = "ema";
  std::vector<NamedTensor> tensors;
  for (const ExpectedTensor& expected : GeneratorTensors(config)) {
    const SafetensorsFile& file = training ? *training : checkpoint->weights;
    const std::string name = (training ? "ema." : "") + expected.name;
    auto values = file.Floats(name, expected.shape);
    if (!values.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          values.status().message(),
          training ? "; --ema needs a checkpoint of a run with synthvol-train --ema" : ""));
    }
    tensors.push_back(
        {expected.name,
         DType::kF32,
         expected.shape,
         {reinterpret_cast<const char*>(values->data()), values->size() * sizeof(float)}});
  }

  const std::string model = absl::StrCat(request.repository, "/", request.name);
  std::error_code error;
  fs::create_directories(model, error);
  if (error) {
    return absl::InternalError(absl::StrCat(model, ": cannot create: ", error.message()));
  }
  const int64_t version = request.version.value_or(NextVersion(model));
  const std::string folder = absl::StrCat(model, "/", version);
  auto directory = AtomicDirectory::Create(folder);
  if (!directory.ok()) return directory.status();
  if (auto status = WriteCheckpoint(directory->temporary_path(), config, tensors); !status.ok()) {
    return status;
  }
  if (auto status = directory->Commit(); !status.ok()) return status;
  return folder;
}

}  // namespace synthvol::model
