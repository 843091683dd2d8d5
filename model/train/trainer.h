// Runs a training from its configuration to its last checkpoint.
//
//   data -> prefetcher -> train step -> log, checkpoints
//
// One run per process (it watches SIGTERM and SIGINT). Blocks; not thread-safe.
#ifndef SYNTHVOL_MODEL_TRAIN_TRAINER_H_
#define SYNTHVOL_MODEL_TRAIN_TRAINER_H_

#include "absl/status/status.h"
#include "model/train/train_config.h"

namespace synthvol::model {

// Trains until the iterations or the minutes are over, or SIGTERM or SIGINT comes; then writes a
// checkpoint and returns OK. Errors: what TrainingData::Open and LoadTraining report; an output
// folder that holds a run already; a device that is not there; a loss that is not finite, with the
// iteration (the last checkpoint stays); a full disk.
absl::Status Train(TrainConfig config);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_TRAINER_H_
