// What a run says of itself while it runs: metrics.jsonl, TensorBoard events, preview pictures and
// the progress bar. Not thread-safe. Owns its files.
#ifndef SYNTHVOL_MODEL_TRAIN_RUN_LOG_H_
#define SYNTHVOL_MODEL_TRAIN_RUN_LOG_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress_bar.h"
#include "model/nets/generator.h"
#include "model/train/tensorboard_writer.h"
#include "model/train/train_config.h"

namespace synthvol::model {

class RunLog {
 public:
  // Opens the files below the run's folder. A run that resumes at `first` drops the lines of
  // metrics.jsonl that it is about to write again.
  static absl::StatusOr<std::unique_ptr<RunLog>> Open(const TrainConfig& config, int64_t first);

  // Notes one iteration: `done` counts it.
  absl::Status Iteration(int64_t done, int64_t crop, const std::vector<LossValue>& losses,
                         double seconds);
  // Renders a few fixed latents and writes previews/STEP.png, also to TensorBoard.
  absl::Status Preview(int64_t done, const Generator& generator);
  void Finish();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  RunLog(const TrainConfig& config, int64_t first, std::FILE* metrics, TensorBoardWriter events);

  const TrainConfig& config_;
  std::unique_ptr<std::FILE, Closer> metrics_;
  TensorBoardWriter events_;
  ProgressBar bar_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_RUN_LOG_H_
