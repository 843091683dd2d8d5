// A training's state on disk: RUN/checkpoints/STEP/ with the model (config.json, model.safetensors:
// the generator), training.safetensors (the other networks, second moments, averaged generator) and
// state.json. The folder appears whole or not at all.
//
// Free functions; not thread-safe on the same folder.
#ifndef SYNTHVOL_MODEL_TRAIN_TRAINING_CHECKPOINT_H_
#define SYNTHVOL_MODEL_TRAIN_TRAINING_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/train/networks.h"
#include "model/train/train_step.h"

namespace synthvol::model {

// What state.json holds beside tensors.
struct TrainingState {
  // Iterations done.
  int64_t iteration = 0;
  uint64_t seed = 0;
  // Volumes a step over all processes and micro-batches; decides the order of data.
  int64_t global_batch = 0;
  std::string data_digest;
};

// Borrowed parts of a running training.
struct TrainingParts {
  Networks* networks = nullptr;
  TrainStep* step = nullptr;
  // Averaged generator, by parameter name; empty without averaging.
  std::map<std::string, at::Tensor>* average = nullptr;
};

// Writes RUN/checkpoints/STEP and removes older ones beyond `keep` (0 keeps all). A checkpoint of
// this step that is there already is kept. RESOURCE_EXHAUSTED when the disk is full; nothing is
// left then.
absl::Status SaveTraining(const std::string& run, const ModelConfig& config,
                          const TrainingState& state, const TrainingParts& parts, int64_t keep);

// Reads a checkpoint folder into parts that were built for `config`. INVALID_ARGUMENT names the
// file and the difference when it is of another architecture or lacks a tensor; parts are unchanged
// then.
absl::StatusOr<TrainingState> LoadTraining(const std::string& folder, const ModelConfig& config,
                                           const TrainingParts& parts);

// Returns RUN/checkpoints' steps, ascending.
std::vector<int64_t> ListCheckpoints(const std::string& run);
// Removes folders of checkpoints whose writing was cut short.
void RemovePartialCheckpoints(const std::string& run);
// Returns RUN/checkpoints/STEP.
std::string CheckpointFolder(const std::string& run, int64_t step);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_TRAINING_CHECKPOINT_H_
