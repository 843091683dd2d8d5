// What the tests of this folder share: temporary models and the golden values.
#ifndef SYNTHVOL_TESTS_MODEL_INFERENCE_TESTING_H_
#define SYNTHVOL_TESTS_MODEL_INFERENCE_TESTING_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/synthesizer.h"

namespace synthvol::model {

// A folder below the system's temporary one, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Writes a checkpoint of hashed weights into `folder` (made if need be) and returns its path.
std::string WriteHashedModel(const ModelConfig& config, const std::string& folder,
                             uint64_t salt = 1);

// A small configuration: few channels and latent values, so that tests are quick.
ModelConfig SmallConfig(int64_t size);

// Loads on the CPU; dies with the message on failure.
std::unique_ptr<Synthesizer> LoadOrDie(const std::string& folder,
                                       const SynthesizerOptions& options = {});

// Collects a whole volume.
absl::StatusOr<std::vector<float>> SynthesizeUnit(Synthesizer& model, const SynthesisInput& input);
absl::StatusOr<std::vector<int16_t>> SynthesizeStored(Synthesizer& model,
                                                      const SynthesisInput& input);

// Reads a file of $SYNTHVOL_SHARED_DIR/golden, nothing where that is absent.
std::optional<nlohmann::json> ReadGolden(const std::string& name);

}  // namespace synthvol::model

#endif  // SYNTHVOL_TESTS_MODEL_INFERENCE_TESTING_H_
