// The training side of a prepared data set: memory-mapped volumes, labels, and the order in which a
// run sees them.
//
// Const use is thread-safe. Owns the mappings.
#ifndef SYNTHVOL_MODEL_TRAIN_TRAINING_DATA_H_
#define SYNTHVOL_MODEL_TRAIN_TRAINING_DATA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/dataset.h"
#include "model/train/train_config.h"

namespace synthvol::model {

// Where in the run a volume is used: all that decides which one it is and how it is changed.
struct SamplePosition {
  uint64_t seed = 0;
  // Volumes used before this one, over all processes.
  uint64_t index = 0;
};

class TrainingData {
 public:
  // Opens the data set and checks it against the configuration. Errors: no or another data set,
  // size other than the manifest's, a file without label or a class out of range (conditional
  // runs), fewer training volumes than a batch of all processes takes.
  static absl::StatusOr<TrainingData> Open(const TrainConfig& config, int64_t world_size);

  int64_t count() const { return static_cast<int64_t>(volumes_.size()); }
  int64_t size() const { return size_; }
  const imaging::DatasetManifest& manifest() const { return manifest_; }
  // SHA-256 of the manifest.
  const std::string& digest() const { return digest_; }

  // Returns which volume stands at this position: every epoch is a new permutation.
  int64_t VolumeAt(const SamplePosition& position) const;
  // Returns a volume's class, -1 without labels.
  int64_t Label(int64_t volume) const;
  // Writes a volume on the unit scale to `out` [size, size, size], augmented by what the position
  // draws; a thread takes at least `slices_a_thread` slices.
  void Read(int64_t volume, const SamplePosition& position, const Augmentation& augmentation,
            int64_t slices_a_thread, absl::Span<float> out) const;

 private:
  TrainingData() = default;

  imaging::DatasetManifest manifest_;
  std::string digest_;
  int64_t size_ = 0;
  std::vector<imaging::MappedVolume> volumes_;
  std::vector<int64_t> labels_;
};

// Fills what the manifest knows into a model's configuration: window, modality, class names, and
// the mean spacing of the training volumes.
void DescribeData(const imaging::DatasetManifest& manifest, ModelConfig& config);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_TRAINING_DATA_H_
