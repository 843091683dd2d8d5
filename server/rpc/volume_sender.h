// Turns the slabs of one volume into the messages of a stream: header, chunks with CRC32C, trailer
// with the digest of them all.
//
// Thread-compatible: one worker at a time. Shares the writer, owns its encoder.
#ifndef SYNTHVOL_SERVER_RPC_VOLUME_SENDER_H_
#define SYNTHVOL_SERVER_RPC_VOLUME_SENDER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "imaging/dicom/series_encoder.h"
#include "model/synthesizer.h"
#include "server/rpc/background_sha256.h"
#include "server/rpc/chunk_message.h"
#include "server/rpc/stream_writer.h"
#include "server/rpc/synthesis_plan.h"

namespace synthvol::server {

// Where messages go and what they are made with; must outlive its senders.
struct StreamTarget {
  StreamWriter& writer;
  BlockPool& pool;
  // Runs the SHA-256.
  Executor& hashing;
};

// What the chunks of one volume have in common.
struct ChunkOptions {
  uint32_t volume_index = 0;
  // Most bytes of data in a message.
  uint32_t chunk_bytes = 1 << 20;
  // Whether the trailer has a SHA-256 beside the CRC32C.
  bool sha256 = true;
};

// Cuts bytes into chunk messages and keeps count and checksums of what it sent.
class ChunkSender {
 public:
  ChunkSender(const StreamTarget& target, const ChunkOptions& options);

  // Sends `data`, which begins at `offset`; `fields` says the rest. Marks the last piece as the
  // last of its file when `fields` does. Copies the data unless `kept` keeps them.
  void Send(std::string_view data, uint64_t offset, const ChunkFields& fields,
            const std::shared_ptr<const void>& kept = nullptr);

  const ChunkOptions& options() const { return options_; }
  // Sets index, byte count and digests of everything sent; call it once.
  void FillTrailer(v1::VolumeTrailer& trailer);

 private:
  const StreamTarget target_;
  const ChunkOptions options_;
  uint64_t byte_count_ = 0;
  uint32_t crc32c_ = 0;
  std::optional<BackgroundSha256> sha256_;
};

class VolumeSender {
 public:
  virtual ~VolumeSender() = default;

  // Makes the sender for volume `index` of `plan`, drawn as `draw` says; sends from slice
  // `start_slice` on.
  static absl::StatusOr<std::unique_ptr<VolumeSender>> Create(const SynthesisPlan& plan,
                                                              uint32_t index, const Draw& draw,
                                                              uint32_t start_slice,
                                                              const StreamTarget& target);

  // Sends a slab of OutputKindOf(plan); slabs come in order, without gaps, from
  // FirstSliceNeeded(plan, start_slice) on.
  virtual absl::Status Add(const model::Slab& slab) = 0;

  ChunkSender& chunks() { return chunks_; }

 protected:
  VolumeSender(const SynthesisPlan& plan, uint32_t index, const StreamTarget& target);

  ChunkSender chunks_;
};

// Returns the header message of volume `index`, drawn as `draw` says.
v1::SynthesizeResponse MakeHeader(const SynthesisPlan& plan, const ServableModel& model,
                                  uint32_t index, const Draw& draw, uint32_t start_slice,
                                  bool cuda);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_VOLUME_SENDER_H_
