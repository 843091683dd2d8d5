#include "model/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "base/checksum.h"

namespace synthvol::model {
namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr int64_t kKernel = 3;

// Returns whether every value is finite: the exponent's bits are not all ones.
bool AllFinite(absl::Span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000u;
  bool finite = true;
  for (const float value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    finite &= (bits & kExponent) != kExponent;
  }
  return finite;
}

void AddConvolution(const std::string& number, int64_t inputs, int64_t outputs, bool normalised,
                    std::vector<ExpectedTensor>& tensors) {
  tensors.push_back({"tp_conv" + number + ".weight", {outputs, inputs, kKernel, kKernel, kKernel}});
  tensors.push_back({"tp_conv" + number + ".bias", {outputs}});
  if (!normalised) return;
  tensors.push_back({"bn" + number + ".weight", {outputs}});
  tensors.push_back({"bn" + number + ".bias", {outputs}});
}

}  // namespace

absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& folder) {
  const std::string config_path = folder + "/config.json";
  const std::string weights_path = folder + "/model.safetensors";
  auto text = ReadFile(config_path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  auto config = ParseModelConfig(*text, config_path);
  if (!config.ok()) return config.status();
  auto weights = SafetensorsFile::Open(weights_path);
  if (!weights.ok()) return weights.status();
  auto weights_digest = Sha256HexOfFile(weights_path);
  if (!weights_digest.ok()) return weights_digest.status();
  // What `sha256sum config.json model.safetensors | sha256sum` prints.
  const std::string digest = Sha256Hex(
      absl::StrCat(Sha256Hex(*text), "  config.json\n", *weights_digest, "  model.safetensors\n"));
  return Checkpoint{*std::move(config), *std::move(weights), digest};
}

absl::Status WriteCheckpoint(const std::string& folder, const ModelConfig& config,
                             const std::vector<NamedTensor>& weights) {
  if (auto status = Validate(config); !status.ok()) return status;
  if (auto status =
          WriteSafetensors(folder + "/model.safetensors", weights, {{"format", "synthvol"}});
      !status.ok()) {
    return status;
  }
  return WriteFileAtomically(folder + "/config.json", ToJson(config));
}

std::vector<ExpectedTensor> GeneratorTensors(const ModelConfig& config) {
  const int64_t c = config.channels;
  const bool has_third_stage = config.size == 512;
  const int64_t first = 16 * c * 4 * 4 * 4;
  std::vector<ExpectedTensor> tensors;
  tensors.push_back({"fc1.weight", {first, config.latent_dim + config.num_classes}});
  tensors.push_back({"fc1.bias", {first}});
  AddConvolution("1", 16 * c, 16 * c, true, tensors);
  AddConvolution("2", 16 * c, 16 * c, true, tensors);
  AddConvolution("3", 16 * c, 8 * c, true, tensors);
  AddConvolution("4", 8 * c, 4 * c, true, tensors);
  AddConvolution("5", 4 * c, 2 * c, true, tensors);
  AddConvolution("6", 2 * c, c, true, tensors);
  AddConvolution("7", has_third_stage ? c / 2 : c, 1, false, tensors);
  if (has_third_stage) AddConvolution("8", c, c / 2, true, tensors);
  return tensors;
}

absl::Status CheckGeneratorWeights(const Checkpoint& checkpoint) {
  for (const ExpectedTensor& expected : GeneratorTensors(checkpoint.config)) {
    auto values = checkpoint.weights.Floats(expected.name, expected.shape);
    if (!values.ok()) return absl::InvalidArgumentError(values.status().message());
    if (!AllFinite(*values)) {
      return absl::InvalidArgumentError(absl::StrCat(checkpoint.weights.path(), ": tensor '",
                                                     expected.name,
                                                     "' holds values that are not finite"));
    }
  }
  return absl::OkStatus();
}

}  // namespace synthvol::model
