// Turns the slabs of one volume into the messages of a stream: header, chunks with CRC32C, trailer
// with SHA-256.
//
// Thread-compatible: one worker at a time. Shares the writer, owns its encoder.
#ifndef SYNTHVOL_SERVER_RPC_VOLUME_SENDER_H_
#define SYNTHVOL_SERVER_RPC_VOLUME_SENDER_H_

#include <cstdint>
#include <functional>
#include <memory>
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

// Cuts bytes into chunk messages and keeps count and checksum of what it sent.
class ChunkSender {
 public:
  ChunkSender(StreamWriter& writer, BlockPool& pool, Executor& hashing, uint32_t volume_index,
              uint32_t chunk_bytes)
      : writer_(writer),
        pool_(pool),
        volume_index_(volume_index),
        chunk_bytes_(chunk_bytes),
        sha256_(hashing) {}

  // Sends `data`, which begins at `offset`; `fields` says the rest. Marks the last piece as the
  // last of its file when `fields` does.
  void Send(std::string_view data, uint64_t offset, const ChunkFields& fields);

  uint32_t chunk_bytes() const { return chunk_bytes_; }
  uint64_t byte_count() const { return byte_count_; }
  // Returns the 32 bytes over everything sent; call it once.
  std::string FinishSha256() { return sha256_.Finish(); }

 private:
  StreamWriter& writer_;
  BlockPool& pool_;
  const uint32_t volume_index_;
  const uint32_t chunk_bytes_;
  uint64_t byte_count_ = 0;
  BackgroundSha256 sha256_;
};

class VolumeSender {
 public:
  virtual ~VolumeSender() = default;

  // Makes the sender for volume `index` of `plan`, drawn as `draw` says; sends from slice
  // `start_slice` on.
  static absl::StatusOr<std::unique_ptr<VolumeSender>> Create(const SynthesisPlan& plan,
                                                              uint32_t index, const Draw& draw,
                                                              uint32_t start_slice,
                                                              StreamWriter& writer, BlockPool& pool,
                                                              Executor& hashing);

  // Sends a slab of OutputKindOf(plan); slabs come in order, without gaps, from
  // FirstSliceNeeded(plan, start_slice) on.
  virtual absl::Status Add(const model::Slab& slab) = 0;

  ChunkSender& chunks() { return chunks_; }

 protected:
  VolumeSender(StreamWriter& writer, BlockPool& pool, Executor& hashing, uint32_t index,
               uint32_t chunk_bytes)
      : chunks_(writer, pool, hashing, index, chunk_bytes) {}

  ChunkSender chunks_;
};

// Returns the header message of volume `index`, drawn as `draw` says.
v1::SynthesizeResponse MakeHeader(const SynthesisPlan& plan, const ServableModel& model,
                                  uint32_t index, const Draw& draw, uint32_t start_slice,
                                  bool cuda);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_VOLUME_SENDER_H_
