// An animated GIF of grey frames: 256 greys, endless loop.
//
// Not thread-safe; owns its buffer. The file appears with Commit().
#ifndef SYNTHVOL_CLIENT_CLI_GIF_H_
#define SYNTHVOL_CLIENT_CLI_GIF_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace synthvol::client {

class GifWriter {
 public:
  // Starts an animation of `width` x `height` pixels, at most 65535 a side.
  static absl::StatusOr<GifWriter> Create(const std::string& path, int width, int height);
  GifWriter(GifWriter&&) noexcept;
  GifWriter& operator=(GifWriter&&) noexcept;
  ~GifWriter();

  // Adds a frame, width*height greys, row by row, shown for 1/15 s.
  absl::Status AddFrame(absl::Span<const uint8_t> grey);
  // Writes the file.
  absl::Status Commit();

 private:
  struct State;
  explicit GifWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_GIF_H_
