// TensorBoard's event file: scalars and images that `tensorboard --logdir RUN` shows.
//
// Writes the TFRecord framing (length, masked CRC32C) and the few protobuf fields itself, since
// LibTorch's own protobuf headers and Debian's do not meet in one file. Not thread-safe; owns its
// file. Records reach the file as they are added, so a killed run keeps them.
#ifndef SYNTHVOL_MODEL_TRAIN_TENSORBOARD_WRITER_H_
#define SYNTHVOL_MODEL_TRAIN_TENSORBOARD_WRITER_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace synthvol::model {

class TensorBoardWriter {
 public:
  // Opens a new events.out.tfevents.TIME.HOST.PID in the existing folder `folder`. `first_step`
  // tells TensorBoard to forget steps from there on, which a resumed run writes again.
  static absl::StatusOr<TensorBoardWriter> Create(const std::string& folder, int64_t first_step);

  // Adds scalars of one step.
  absl::Status AddScalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  // Adds a greyscale PNG.
  absl::Status AddImage(int64_t step, const std::string& tag, int width, int height,
                        std::string_view png);

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TensorBoardWriter(std::FILE* file, std::string path) : file_(file), path_(std::move(path)) {}
  absl::Status WriteEvent(int64_t step, std::string_view field);

  std::unique_ptr<std::FILE, Closer> file_;
  std::string path_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_TENSORBOARD_WRITER_H_
