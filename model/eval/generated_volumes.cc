// The volumes of a checkpoint, rendered when they are asked for.
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/eval/volume_set.h"
#include "model/synthesizer.h"

namespace synthvol::model {
namespace {

constexpr int64_t kDefaultCount = 64;
// Rendered volumes are kept up to this much, since pairs ask for them again.
constexpr int64_t kCacheBytes = int64_t{1} << 30;

class GeneratedVolumes : public VolumeSet {
 public:
  GeneratedVolumes(std::string folder, std::unique_ptr<Synthesizer> synthesizer, int64_t count,
                   uint64_t seed)
      : folder_(std::move(folder)),
        synthesizer_(std::move(synthesizer)),
        count_(count),
        seed_(seed) {}

  std::string Describe() const override {
    return absl::StrCat(ToString(config().architecture), " checkpoint ", folder_, ", ", count_,
                        " volumes from seeds ", seed_, "..", seed_ + count_ - 1, ", digest ",
                        synthesizer_->digest());
  }
  int64_t size() const override { return config().size; }
  int64_t count() const override { return count_; }
  const imaging::Window& window() const override { return config().window; }
  std::string modality() const override { return config().modality; }
  std::array<double, 3> spacing() const override { return config().spacing; }
  std::string plausibility_json() const override { return config().plausibility_json; }
  std::string checkpoint_digest() const override { return synthesizer_->digest(); }
  std::string NameOf(int64_t index) const override { return absl::StrCat("seed ", seed_ + index); }

  absl::StatusOr<std::vector<float>> Load(int64_t index) override {
    if (const auto kept = cache_.find(index); kept != cache_.end()) return kept->second;
    auto volume = Render(index);
    if (volume.ok()) {
      const auto bytes = static_cast<int64_t>(volume->size() * sizeof(float));
      if (static_cast<int64_t>(cache_.size() + 1) * bytes <= kCacheBytes) cache_[index] = *volume;
    }
    return volume;
  }

 private:
  const ModelConfig& config() const { return synthesizer_->config(); }

  absl::StatusOr<std::vector<float>> Render(int64_t index) {
    const auto latent = LatentFromSeed(seed_ + index, config().latent_dim);
    if (!latent.ok()) return latent.status();
    SynthesisInput input;
    input.latent = *latent;
    // A conditional generator shows its classes in turn.
    if (config().num_classes > 0) input.class_label = index % config().num_classes;
    std::vector<float> unit;
    unit.reserve(static_cast<size_t>(size() * size() * size()));
    const auto status =
        synthesizer_->Synthesize(input, OutputKind::kUnit, [&unit](const Slab& slab) {
          unit.insert(unit.end(), slab.unit.begin(), slab.unit.end());
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    return unit;
  }

  const std::string folder_;
  const std::unique_ptr<Synthesizer> synthesizer_;
  const int64_t count_;
  const uint64_t seed_;
  std::map<int64_t, std::vector<float>> cache_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VolumeSet>> OpenGeneratedVolumes(const std::string& folder,
                                                                const VolumeSetOptions& options) {
  SynthesizerOptions synthesizer_options;
  synthesizer_options.threads = options.threads;
  auto synthesizer = Synthesizer::Load(folder, synthesizer_options);
  if (!synthesizer.ok()) return synthesizer.status();
  const int64_t count = options.count > 0 ? options.count : kDefaultCount;
  return std::make_unique<GeneratedVolumes>(folder, *std::move(synthesizer), count, options.seed);
}

}  // namespace synthvol::model
