// Measures training: parameters, memory at several batch sizes, iterations a second; the tables of
// the clinical paper. Each cell runs in a process of its own, so that peaks do not add up.
//
// Free functions. Not thread-safe.
#ifndef SYNTHVOL_MODEL_TRAIN_PROFILE_H_
#define SYNTHVOL_MODEL_TRAIN_PROFILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/train/train_config.h"

namespace synthvol::model {

struct ProfileRequest {
  std::vector<std::string> architectures = {"crf-gan", "ha-gan"};
  std::vector<int64_t> batch_sizes = {2, 4, 6};
  int64_t iterations = 2;
  // Also written here as JSON when not empty.
  std::string json;
  // Sizes, device, threads and precision of the runs.
  TrainConfig config;
};

// Runs `iterations` on random volumes after one that warms up, in this process, and prints one JSON
// object.
absl::Status ProfileHere(const TrainConfig& config, int64_t iterations);

// Runs every cell in a child process and prints the table as Markdown.
absl::Status ProfileTable(const ProfileRequest& request);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_PROFILE_H_
