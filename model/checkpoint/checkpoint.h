// A trained model on disk: a folder with `model.safetensors` (weights) and `config.json` (what
// they are). docs/checkpoint-format.md describes both. Torch-free.
#ifndef SYNTHVOL_MODEL_CHECKPOINT_CHECKPOINT_H_
#define SYNTHVOL_MODEL_CHECKPOINT_CHECKPOINT_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "imaging/volume.h"
#include "model/checkpoint/safetensors.h"

namespace synthvol::model {

enum class Architecture { kCrfGan, kHaGan };

// Returns "crf-gan" or "ha-gan".
const char* ToString(Architecture architecture);
// INVALID_ARGUMENT names what is allowed.
absl::StatusOr<Architecture> ParseArchitecture(const std::string& text);

// How the CRF forms its nodes from the embedding (DESIGN section 5).
enum class CrfNodes { kReleased, kDepth };

// What a set of weights is: everything needed to rebuild the networks and to place a volume.
struct ModelConfig {
  Architecture architecture = Architecture::kCrfGan;
  // Voxels a side: 64, 128, 256 or 512.
  int64_t size = 64;
  // Channels c of the generator's narrowest full layer; a multiple of 8.
  int64_t channels = 32;
  int64_t latent_dim = 1024;
  // 0 for an unconditional generator.
  int64_t num_classes = 0;
  std::vector<std::string> class_names;
  CrfNodes crf_nodes = CrfNodes::kReleased;
  // "CT" or "MR".
  std::string modality = "CT";
  imaging::Window window;
  // Millimetres along x, y, z.
  std::array<double, 3> spacing{1.0, 1.0, 1.0};
  // Iterations, data manifest digest, commit, seed, "ema" ...: free-form facts.
  std::map<std::string, std::string> provenance;
  // Ranges of the training data that the plausibility gate checks against (JSON text; may be
  // empty).
  std::string plausibility_json;

  // Embedding voxels a side: size/4, 64 at 512.
  int64_t EmbeddingSize() const { return size == 512 ? 64 : size / 4; }
  // Image slices of the training sub-volume.
  int64_t SubVolumeSlices() const { return size / 8; }
};

// Checks sizes and ranges; INVALID_ARGUMENT names the field and what is expected.
absl::Status Validate(const ModelConfig& config);

// Parses and validates config.json; `where` names the file in errors. Hostile input is safe.
absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& json, const std::string& where);
// Returns config.json's text: stable key order, so equal configurations have equal bytes.
std::string ToJson(const ModelConfig& config);

// A checkpoint opened for reading: weights are mapped, not copied.
struct Checkpoint {
  ModelConfig config;
  SafetensorsFile weights;
  // SHA-256 over config.json and model.safetensors, hexadecimal.
  std::string digest;
};

// Opens FOLDER/config.json and FOLDER/model.safetensors. Errors name the file and what was
// expected.
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& folder);

// Writes both files into the existing folder `folder`, weights first; callers make the folder
// appear atomically (AtomicDirectory).
absl::Status WriteCheckpoint(const std::string& folder, const ModelConfig& config,
                             const std::vector<NamedTensor>& weights);

// A tensor that a generator of this configuration must have.
struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

// Lists the generator's tensors (names of the released code without prefix: "fc1.weight",
// "tp_conv1.weight", "bn1.weight", ... ) for the configuration. 512 adds "tp_conv8"/"bn8"... as
// written in docs/checkpoint-format.md.
std::vector<ExpectedTensor> GeneratorTensors(const ModelConfig& config);

// Checks that every generator tensor is present with its shape, float32 and finite.
// INVALID_ARGUMENT names the tensor.
absl::Status CheckGeneratorWeights(const Checkpoint& checkpoint);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_CHECKPOINT_CHECKPOINT_H_
