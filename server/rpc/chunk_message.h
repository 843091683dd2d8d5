// Chunks as gRPC messages without protobuf's copies, behind a hand-written wire header of
// VolumeChunk. Data that somebody keeps are sent from where they are; others are copied once, into
// a pooled block. gRPC lets go of either when the transport is done with it.
#ifndef SYNTHVOL_SERVER_RPC_CHUNK_MESSAGE_H_
#define SYNTHVOL_SERVER_RPC_CHUNK_MESSAGE_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace synthvol::server {

// Keeps freed blocks of one size for reuse, since fresh megabytes cost page faults. Small messages
// get memory of their own size: a whole block for each would be far more than a stream accounts
// for. Thread-safe; shared by the blocks that are out.
class BlockPool : public std::enable_shared_from_this<BlockPool> {
 public:
  // Blocks of `block_bytes` serve messages down to half of it; at most `max_kept` are kept unused.
  BlockPool(size_t block_bytes, size_t max_kept) : block_bytes_(block_bytes), max_kept_(max_kept) {}

  // Returns memory for at least `bytes`, which comes back when its last holder lets go.
  std::shared_ptr<char> Take(size_t bytes);

 private:
  // Takes back what Take(bytes) returned.
  void Give(std::unique_ptr<char[]> block, size_t bytes);
  bool IsPooled(size_t bytes) const { return bytes <= block_bytes_ && bytes > block_bytes_ / 2; }

  const size_t block_bytes_;
  const size_t max_kept_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<char[]>> kept_ ABSL_GUARDED_BY(mutex_);
};

// What a VolumeChunk says beside its data and CRC32C; see synthesis.proto.
struct ChunkFields {
  uint32_t volume_index = 0;
  uint64_t offset = 0;
  uint32_t slice_index = 0;
  std::string_view file_name;
  bool last_of_file = false;
};

// A message, and VolumeChunk.data, which it shares.
struct ChunkMessage {
  grpc::ByteBuffer bytes;
  grpc::Slice data;
  // Of the data.
  uint32_t crc32c = 0;
};

// Returns SynthesizeResponse{chunk} with a copy of `data`.
ChunkMessage CopyToChunkMessage(const ChunkFields& fields, std::string_view data, BlockPool& pool);

// Returns SynthesizeResponse{chunk} that refers to `data`, which `kept` keeps.
ChunkMessage ReferToChunkMessage(const ChunkFields& fields, std::string_view data,
                                 std::shared_ptr<const void> kept);

// Returns any message in its own wire form.
grpc::ByteBuffer MakeMessage(const google::protobuf::MessageLite& message);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_CHUNK_MESSAGE_H_
