// One generation of a model version: what was found in its folder at one time. A version whose
// files are replaced becomes a new generation; streams that hold the old one finish with it.
//
// The descriptive part is immutable. Residency (loaded weights) belongs to the ModelRegistry, under
// its lock.
#ifndef SYNTHVOL_SERVER_REGISTRY_SERVABLE_MODEL_H_
#define SYNTHVOL_SERVER_REGISTRY_SERVABLE_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/eval/gate/plausibility.h"
#include "model/synthesizer.h"
#include "server/registry/model_repository.h"

namespace synthvol::server {

class ModelRegistry;

class ServableModel {
 public:
  ServableModel(std::string model_name, int64_t model_version, VersionFolder model_folder,
                model::ModelConfig model_config, std::string model_digest,
                std::array<absl::Status, 3> model_precisions, size_t devices,
                std::optional<model::PlausibilityRanges> model_plausibility = std::nullopt)
      : name(std::move(model_name)),
        version(model_version),
        folder(std::move(model_folder)),
        config(std::move(model_config)),
        digest(std::move(model_digest)),
        precisions(std::move(model_precisions)),
        plausibility(std::move(model_plausibility)),
        slots_(devices) {}

  const std::string name;
  const int64_t version;
  const VersionFolder folder;
  const model::ModelConfig config;
  const std::string digest;
  // Whether the devices can compute in a model::Precision, by its value, and if not, why.
  const std::array<absl::Status, 3> precisions;
  // The ranges of its training data; unset when the checkpoint has none.
  const std::optional<model::PlausibilityRanges> plausibility;

 private:
  friend class ModelRegistry;

  // Residency on one device.
  struct Slot {
    std::unique_ptr<model::Synthesizer> synthesizer;
    int64_t bytes = 0;
    uint32_t pins = 0;
    absl::Time last_used;
  };

  // Guarded by ModelRegistry::mutex_.
  std::vector<Slot> slots_;
};

// A loaded generator that stays loaded as long as the lease lives. Movable; one owner. The registry
// must outlive it.
class ModelLease {
 public:
  ModelLease(ModelRegistry* registry, std::shared_ptr<ServableModel> servable, int device,
             model::Synthesizer* synthesizer)
      : registry_(registry),
        servable_(std::move(servable)),
        device_(device),
        synthesizer_(synthesizer) {}
  ModelLease(ModelLease&& other) noexcept
      : registry_(std::exchange(other.registry_, nullptr)),
        servable_(std::move(other.servable_)),
        device_(other.device_),
        synthesizer_(other.synthesizer_) {}
  ModelLease& operator=(ModelLease&&) = delete;
  ~ModelLease();

  model::Synthesizer& synthesizer() const { return *synthesizer_; }

 private:
  ModelRegistry* registry_;
  std::shared_ptr<ServableModel> servable_;
  int device_;
  model::Synthesizer* synthesizer_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_REGISTRY_SERVABLE_MODEL_H_
