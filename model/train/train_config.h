// Everything that a training run is told, and the folders it makes. Plain values.
#ifndef SYNTHVOL_MODEL_TRAIN_TRAIN_CONFIG_H_
#define SYNTHVOL_MODEL_TRAIN_TRAIN_CONFIG_H_

#include <cstdint>
#include <string>

#include "model/checkpoint/checkpoint.h"
#include "model/train/train_step.h"

namespace synthvol::model {

// Random changes of real volumes, all off by default as in the papers.
struct Augmentation {
  // Mirrors left and right with probability 1/2.
  bool flip = false;
  // Largest shift along each axis, voxels; the edge is repeated.
  int64_t shift = 0;
  // Largest change of contrast and brightness on the unit scale.
  double jitter = 0;

  bool Any() const { return flip || shift > 0 || jitter > 0; }
};

struct TrainConfig {
  // Prepared data set, and the run's folder: checkpoints/STEP/, previews/, tensorboard/,
  // metrics.jsonl.
  std::string data;
  std::string output;
  // CSV of file,class; empty takes the manifest's labels.
  std::string labels;
  // Checkpoint folder or "latest"; empty starts afresh.
  std::string resume;
  // "auto", "cpu", "cuda" or "cuda:I".
  std::string device = "auto";

  // Architecture and sizes; window, spacing, modality and provenance come from the manifest.
  ModelConfig model;
  TrainOptions step;
  Augmentation augmentation;

  int64_t iterations = 80000;
  // Volumes a step and process, and micro-batches of that size that accumulate.
  int64_t batch_size = 4;
  int64_t accumulate = 1;
  uint64_t seed = 0;
  // Stops with a checkpoint after so many minutes; 0 never.
  double max_minutes = 0;
  // Share of the iterations at the end over which learning rates fall to zero.
  double decay = 0;
  // Decay of the averaged generator; 0 keeps none.
  double ema = 0;

  int64_t checkpoint_every = 1000;
  int64_t preview_every = 500;
  int64_t log_every = 1;
  // Checkpoints that stay, newest first; 0 keeps all.
  int64_t keep = 3;
  // CPU threads; 0 takes all cores.
  int threads = 0;
  // GPU: of cuDNN's kernels only those that give the same bits again, so that a resumed run does.
  bool deterministic = true;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_TRAIN_CONFIG_H_
