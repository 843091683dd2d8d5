#include "testing.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "model/checkpoint/hash_weights.h"

namespace synthvol::model {
namespace {

template <typename T>
absl::StatusOr<std::vector<T>> Collect(Synthesizer& model, const SynthesisInput& input,
                                       OutputKind kind, absl::Span<const T> Slab::*part) {
  std::vector<T> volume;
  const absl::Status status = model.Synthesize(input, kind, [&](const Slab& slab) {
    const absl::Span<const T> values = slab.*part;
    volume.insert(volume.end(), values.begin(), values.end());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return volume;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "synthvol-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string WriteHashedModel(const ModelConfig& config, const std::string& folder, uint64_t salt) {
  std::filesystem::create_directories(folder);
  const absl::Status status =
      WriteCheckpoint(folder, config, MakeHashedGenerator(config, salt).Named());
  EXPECT_TRUE(status.ok()) << status;
  return folder;
}

ModelConfig SmallConfig(int64_t size) {
  ModelConfig config;
  config.size = size;
  config.channels = size == 512 ? 16 : 8;
  config.latent_dim = 24;
  return config;
}

std::unique_ptr<Synthesizer> LoadOrDie(const std::string& folder,
                                       const SynthesizerOptions& options) {
  auto model = Synthesizer::Load(folder, options);
  if (!model.ok()) {
    ADD_FAILURE() << model.status();
    std::abort();
  }
  return *std::move(model);
}

absl::StatusOr<std::vector<float>> SynthesizeUnit(Synthesizer& model, const SynthesisInput& input) {
  return Collect<float>(model, input, OutputKind::kUnit, &Slab::unit);
}

absl::StatusOr<std::vector<int16_t>> SynthesizeStored(Synthesizer& model,
                                                      const SynthesisInput& input) {
  return Collect<int16_t>(model, input, OutputKind::kStored, &Slab::stored);
}

std::optional<nlohmann::json> ReadGolden(const std::string& name) {
  const char* shared = std::getenv("SYNTHVOL_SHARED_DIR");
  if (shared == nullptr) return std::nullopt;
  std::ifstream file(std::string(shared) + "/golden/" + name);
  if (!file) return std::nullopt;
  return nlohmann::json::parse(file);
}

}  // namespace synthvol::model
