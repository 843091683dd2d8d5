#include "model/train/training_checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"

namespace synthvol::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kStateFormat = "synthvol-training";
constexpr int64_t kStateVersion = 1;
constexpr uint64_t kMaxStateBytes = 1 << 20;

// Tensors under their names in the file; keeps contiguous CPU copies alive while they are written.
class TensorList {
 public:
  void Add(const std::string& name, const at::Tensor& tensor) {
    kept_.push_back(tensor.detach().to(at::kCPU).contiguous());
    const at::Tensor& t = kept_.back();
    named_.push_back({name,
                      DType::kF32,
                      t.sizes().vec(),
                      {static_cast<const char*>(t.data_ptr()), static_cast<size_t>(t.nbytes())}});
  }
  const std::vector<NamedTensor>& named() const { return named_; }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<NamedTensor> named_;
};

// A tensor of the file and where it goes.
struct Target {
  std::string name;
  at::Tensor tensor;
};

// Everything in training.safetensors, in order: nets but the generator, moments, average.
std::vector<Target> TrainingTargets(const TrainingParts& parts) {
  std::vector<Target> targets;
  for (auto& [letter, net] : parts.networks->All()) {
    if (letter != "G") {
      for (const auto& item : net->All()) {
        targets.push_back({letter + "." + item.name, item.tensor});
      }
    }
    for (const auto& item : parts.step->optimizers().at(letter).Moments()) {
      targets.push_back({"adam." + letter + "." + item.name, item.tensor});
    }
  }
  if (parts.average != nullptr) {
    for (const auto& [name, tensor] : *parts.average) targets.push_back({"ema." + name, tensor});
  }
  return targets;
}

std::vector<Target> GeneratorTargets(const TrainingParts& parts) {
  std::vector<Target> targets;
  for (const auto& item : parts.networks->generator.net().parameters()) {
    targets.push_back({item.name, item.tensor});
  }
  return targets;
}

std::string StateText(const TrainingState& state, const TrainingParts& parts) {
  nlohmann::ordered_json out;
  out["format"] = kStateFormat;
  out["format_version"] = kStateVersion;
  out["iteration"] = state.iteration;
  out["seed"] = state.seed;
  out["global_batch"] = state.global_batch;
  out["data_digest"] = state.data_digest;
  for (auto& [letter, adam] : parts.step->optimizers()) out["adam_steps"][letter] = adam.steps();
  return out.dump(2) + "\n";
}

// Checks all targets against the file before any of them changes.
absl::Status CheckTargets(const SafetensorsFile& file, const std::vector<Target>& targets) {
  for (const Target& target : targets) {
    auto values = file.Floats(target.name, target.tensor.sizes().vec());
    if (!values.ok()) return absl::InvalidArgumentError(values.status().message());
  }
  return absl::OkStatus();
}

void CopyTargets(const SafetensorsFile& file, const std::vector<Target>& targets) {
  const at::NoGradGuard no_grad;
  for (const Target& target : targets) {
    const auto values = file.Floats(target.name, target.tensor.sizes().vec());
    at::Tensor host = at::empty(target.tensor.sizes(), at::kFloat);
    std::memcpy(host.data_ptr(), values->data(), values->size() * sizeof(float));
    target.tensor.copy_(host);
  }
}

absl::Status CompareConfigs(const std::string& folder, const ModelConfig& found,
                            const ModelConfig& wanted) {
  const auto check = [&folder](bool same, const char* flag, const auto& here,
                               const auto& there) -> absl::Status {
    if (same) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(folder, "/config.json: a checkpoint of ", flag,
                                                   " ", there, ", but the run has ", here));
  };
  const auto nodes = [](CrfNodes n) { return n == CrfNodes::kDepth ? "depth" : "released"; };
  for (const absl::Status& status :
       {check(found.architecture == wanted.architecture, "--arch", ToString(wanted.architecture),
              ToString(found.architecture)),
        check(found.size == wanted.size, "--size", wanted.size, found.size),
        check(found.channels == wanted.channels, "--channels", wanted.channels, found.channels),
        check(found.latent_dim == wanted.latent_dim, "--latent-dim", wanted.latent_dim,
              found.latent_dim),
        check(found.num_classes == wanted.num_classes, "--num-classes", wanted.num_classes,
              found.num_classes),
        check(found.crf_nodes == wanted.crf_nodes, "--crf-nodes", nodes(wanted.crf_nodes),
              nodes(found.crf_nodes))}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<TrainingState> ParseState(const std::string& path, const TrainingParts& parts) {
  auto text = ReadFile(path, kMaxStateBytes);
  if (!text.ok()) return text.status();
  try {
    const json in = json::parse(*text);
    if (in.at("format") != kStateFormat || in.at("format_version") != kStateVersion) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": expected format ", kStateFormat, ", version ", kStateVersion));
    }
    TrainingState state;
    state.iteration = in.at("iteration").get<int64_t>();
    state.seed = in.at("seed").get<uint64_t>();
    state.global_batch = in.at("global_batch").get<int64_t>();
    state.data_digest = in.at("data_digest").get<std::string>();
    for (auto& [letter, adam] : parts.step->optimizers()) {
      adam.set_steps(in.at("adam_steps").at(letter).get<int64_t>());
    }
    return state;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
}

}  // namespace

std::string CheckpointFolder(const std::string& run, int64_t step) {
  return absl::StrCat(run, "/checkpoints/", step);
}

std::vector<int64_t> ListCheckpoints(const std::string& run) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run + "/checkpoints", error)) {
    int64_t step = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &step)) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

void RemovePartialCheckpoints(const std::string& run) {
  std::error_code error;
  std::vector<fs::path> partial;
  for (const auto& entry : fs::directory_iterator(run + "/checkpoints", error)) {
    if (entry.path().filename().string().find(".partial-") != std::string::npos) {
      partial.push_back(entry.path());
    }
  }
  for (const fs::path& path : partial) fs::remove_all(path, error);
}

absl::Status SaveTraining(const std::string& run, const ModelConfig& config,
                          const TrainingState& state, const TrainingParts& parts, int64_t keep) {
  const std::string folder = CheckpointFolder(run, state.iteration);
  auto directory = AtomicDirectory::Create(folder);
  if (absl::IsAlreadyExists(directory.status())) return absl::OkStatus();
  if (!directory.ok()) return directory.status();
  const std::string& temporary = directory->temporary_path();

  TensorList training;
  for (const Target& target : TrainingTargets(parts)) training.Add(target.name, target.tensor);
  if (auto status = WriteSafetensors(temporary + "/training.safetensors", training.named(),
                                     {{"format", kStateFormat}});
      !status.ok()) {
    return status;
  }
  if (auto status = WriteFileAtomically(temporary + "/state.json", StateText(state, parts));
      !status.ok()) {
    return status;
  }
  TensorList generator;
  for (const Target& target : GeneratorTargets(parts)) generator.Add(target.name, target.tensor);
  if (auto status = WriteCheckpoint(temporary, config, generator.named()); !status.ok()) {
    return status;
  }
  if (auto status = directory->Commit(); !status.ok()) return status;

  if (keep <= 0) return absl::OkStatus();
  std::vector<int64_t> steps = ListCheckpoints(run);
  std::error_code error;
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) {
    fs::remove_all(CheckpointFolder(run, steps[i]), error);
  }
  return absl::OkStatus();
}

absl::StatusOr<TrainingState> LoadTraining(const std::string& folder, const ModelConfig& config,
                                           const TrainingParts& parts) {
  auto checkpoint = OpenCheckpoint(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  if (auto status = CompareConfigs(folder, checkpoint->config, config); !status.ok()) return status;
  if (auto status = CheckGeneratorWeights(*checkpoint); !status.ok()) return status;
  auto training = SafetensorsFile::Open(folder + "/training.safetensors");
  if (!training.ok()) return training.status();
  const std::vector<Target> targets = TrainingTargets(parts);
  const std::vector<Target> generator = GeneratorTargets(parts);
  if (auto status = CheckTargets(*training, targets); !status.ok()) return status;
  if (auto status = CheckTargets(checkpoint->weights, generator); !status.ok()) return status;
  auto state = ParseState(folder + "/state.json", parts);
  if (!state.ok()) return state.status();
  CopyTargets(*training, targets);
  CopyTargets(checkpoint->weights, generator);
  return state;
}

}  // namespace synthvol::model
