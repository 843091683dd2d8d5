// synthvol-random-model: writes an untrained checkpoint, for tests, benchmarks and trying a
// deployment out. Its weights are the golden values' hash, so two machines write the same bytes.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "base/command_line.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/hash_weights.h"

namespace synthvol::model {
namespace {

constexpr const char* kProgram = "synthvol-random-model";
// The hash keeps 16 bits of its salt.
constexpr uint64_t kMaxSeed = 65535;

absl::Status Write(const ModelConfig& config, uint64_t seed, const std::string& output) {
  if (auto status = Validate(config); !status.ok()) return status;
  auto directory = AtomicDirectory::Create(output);
  if (!directory.ok()) return directory.status();
  const HashedWeights weights = MakeHashedGenerator(config, seed);
  if (auto status = WriteCheckpoint(directory->temporary_path(), config, weights.Named());
      !status.ok()) {
    return status;
  }
  return directory->Commit();
}

int Main(int argc, const char* const* argv) {
  CLI::App app("Writes an untrained generator (config.json, model.safetensors) of hashed weights.",
               kProgram);
  ModelConfig config;
  std::string architecture = "crf-gan";
  std::string output;
  uint64_t seed = 1;
  app.add_option("--architecture,--arch", architecture, "crf-gan or ha-gan");
  app.add_option("--size", config.size, "voxels a side: 64, 128, 256 or 512");
  app.add_option("--channels", config.channels, "channels c, a multiple of 8");
  app.add_option("--latent-dim", config.latent_dim, "values of the latent");
  app.add_option("--num-classes", config.num_classes, "labels of a conditional generator, 0: none");
  app.add_option("--modality", config.modality, "CT or MR");
  app.add_option("--window-low", config.window.low, "stored value of -1 (HU for CT)");
  app.add_option("--window-high", config.window.high, "stored value of +1 (HU for CT)");
  app.add_option("--spacing", config.spacing, "millimetres along x, y, z");
  app.add_option("--seed", seed, "salt of the hash, 0 to 65535")
      ->check(CLI::Range(uint64_t{0}, kMaxSeed));
  bool keep = false;
  app.add_option("--output", output, "folder to make, with the folders above it")->required();
  app.add_flag("--keep", keep, "leave a folder that exists as it is (a restarted init container)");
  if (const auto status = ParseCommandLine(app, argc, argv)) return *status;

  std::error_code error;
  if (keep && std::filesystem::exists(output, error)) return kExitFine;
  // A failure shows in what is written below, with its reason.
  std::filesystem::create_directories(std::filesystem::path(output).parent_path(), error);
  auto parsed = ParseArchitecture(architecture);
  if (!parsed.ok()) return ReportError(kProgram, parsed.status());
  config.architecture = *parsed;
  config.provenance = {{"source", kProgram}, {"seed", absl::StrCat(seed)}};
  if (auto status = Write(config, seed, output); !status.ok()) return ReportError(kProgram, status);
  std::cout << output << "\n";
  return kExitFine;
}

}  // namespace
}  // namespace synthvol::model

int main(int argc, char** argv) { return synthvol::model::Main(argc, argv); }
