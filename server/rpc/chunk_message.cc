#include "server/rpc/chunk_message.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cstring>
#include <utility>

#include "base/checksum.h"
#include "synthvol/v1/synthesis.pb.h"

namespace synthvol::server {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;
using Chunk = v1::VolumeChunk;

// Generous bound of the two tags and lengths and all fields but file name and data.
constexpr size_t kMaxFieldBytes = 64;
constexpr size_t kMaxFileNameBytes = 256;

// A block that is out as a slice.
struct Lent {
  std::shared_ptr<BlockPool> pool;
  std::unique_ptr<char[]> block;
  size_t bytes;
};

void GiveBack(void* lent) {
  const std::unique_ptr<Lent> owned(static_cast<Lent*>(lent));
  owned->pool->Give(std::move(owned->block), owned->bytes);
}

void LetGo(void* holder) {
  const std::unique_ptr<std::shared_ptr<const void>> owned(
      static_cast<std::shared_ptr<const void>*>(holder));
}

// Writes the fields of VolumeChunk before `data`, and the tag and length of `data`; returns the
// end.
uint8_t* WriteFields(const ChunkFields& fields, uint32_t crc32c, size_t data_bytes, uint8_t* out) {
  out =
      WireFormatLite::WriteUInt32ToArray(Chunk::kVolumeIndexFieldNumber, fields.volume_index, out);
  out = WireFormatLite::WriteUInt64ToArray(Chunk::kOffsetFieldNumber, fields.offset, out);
  out = WireFormatLite::WriteFixed32ToArray(Chunk::kCrc32CFieldNumber, crc32c, out);
  out = WireFormatLite::WriteUInt32ToArray(Chunk::kSliceIndexFieldNumber, fields.slice_index, out);
  if (!fields.file_name.empty()) {
    out = WireFormatLite::WriteStringToArray(Chunk::kFileNameFieldNumber,
                                             std::string(fields.file_name), out);
  }
  if (fields.last_of_file) {
    out = WireFormatLite::WriteBoolToArray(Chunk::kLastOfFileFieldNumber, true, out);
  }
  out = WireFormatLite::WriteTagToArray(Chunk::kDataFieldNumber,
                                        WireFormatLite::WIRETYPE_LENGTH_DELIMITED, out);
  return CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(data_bytes), out);
}

// The bytes of a message before its data.
struct Preamble {
  uint8_t bytes[2 * kMaxFieldBytes + kMaxFileNameBytes];
  size_t size = 0;
};

Preamble MakePreamble(const ChunkFields& fields, uint32_t crc32c, size_t data_bytes) {
  uint8_t inner[kMaxFieldBytes + kMaxFileNameBytes];
  const size_t inner_bytes = WriteFields(fields, crc32c, data_bytes, inner) - inner;
  Preamble preamble;
  uint8_t* end =
      WireFormatLite::WriteTagToArray(v1::SynthesizeResponse::kChunkFieldNumber,
                                      WireFormatLite::WIRETYPE_LENGTH_DELIMITED, preamble.bytes);
  end =
      CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(inner_bytes + data_bytes), end);
  std::memcpy(end, inner, inner_bytes);
  preamble.size = end + inner_bytes - preamble.bytes;
  return preamble;
}

}  // namespace

std::unique_ptr<char[]> BlockPool::Take(size_t bytes) {
  if (IsPooled(bytes)) {
    absl::MutexLock lock(&mutex_);
    if (!kept_.empty()) {
      std::unique_ptr<char[]> block = std::move(kept_.back());
      kept_.pop_back();
      return block;
    }
    bytes = block_bytes_;
  }
  // Left uninitialised: every byte that is sent is written first.
  return std::unique_ptr<char[]>(new char[bytes]);
}

void BlockPool::Give(std::unique_ptr<char[]> block, size_t bytes) {
  if (!IsPooled(bytes)) return;
  absl::MutexLock lock(&mutex_);
  if (kept_.size() < max_kept_) kept_.push_back(std::move(block));
}

ChunkMessage CopyToChunkMessage(const ChunkFields& fields, std::string_view data, BlockPool& pool) {
  // As long with any CRC32C: made again once that is known.
  const size_t begin = MakePreamble(fields, 0, data.size()).size;
  const size_t bytes = begin + data.size();
  auto lent = std::make_unique<Lent>(Lent{pool.shared_from_this(), pool.Take(bytes), bytes});
  char* const block = lent->block.get();
  ChunkMessage message;
  message.data_begin = begin;
  message.crc32c = CopyWithCrc32c(data, block + begin);
  const Preamble preamble = MakePreamble(fields, message.crc32c, data.size());
  std::memcpy(block, preamble.bytes, begin);
  // gRPC gives the block back through GiveBack, from any thread.
  message.slice = grpc::Slice(block, bytes, &GiveBack, lent.release());
  message.bytes = grpc::ByteBuffer(&message.slice, 1);
  return message;
}

ChunkMessage ReferToChunkMessage(const ChunkFields& fields, std::string_view data,
                                 std::shared_ptr<const void> kept) {
  ChunkMessage message;
  message.crc32c = Crc32c(data);
  const Preamble preamble = MakePreamble(fields, message.crc32c, data.size());
  auto holder = std::make_unique<std::shared_ptr<const void>>(std::move(kept));
  // gRPC only reads what it sends.
  message.slice =
      grpc::Slice(const_cast<char*>(data.data()), data.size(), &LetGo, holder.release());
  const grpc::Slice slices[] = {grpc::Slice(preamble.bytes, preamble.size), message.slice};
  message.bytes = grpc::ByteBuffer(slices, 2);
  return message;
}

grpc::ByteBuffer MakeMessage(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace synthvol::server
