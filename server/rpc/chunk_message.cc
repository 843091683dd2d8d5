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

// Returns the message of `data`, which `kept` keeps until gRPC lets go of it, from any thread.
ChunkMessage Assemble(const ChunkFields& fields, std::string_view data, uint32_t crc32c,
                      std::shared_ptr<const void> kept) {
  auto holder = std::make_unique<std::shared_ptr<const void>>(std::move(kept));
  ChunkMessage message;
  message.crc32c = crc32c;
  // gRPC only reads what it sends.
  message.data = grpc::Slice(const_cast<char*>(data.data()), data.size(), &LetGo, holder.release());
  const Preamble preamble = MakePreamble(fields, crc32c, data.size());
  const grpc::Slice slices[] = {grpc::Slice(preamble.bytes, preamble.size), message.data};
  message.bytes = grpc::ByteBuffer(slices, 2);
  return message;
}

}  // namespace

std::shared_ptr<char> BlockPool::Take(size_t bytes) {
  std::unique_ptr<char[]> block;
  if (IsPooled(bytes)) {
    absl::MutexLock lock(&mutex_);
    if (!kept_.empty()) {
      block = std::move(kept_.back());
      kept_.pop_back();
    }
  }
  // Left uninitialised: every byte that is sent is written first.
  if (block == nullptr) block.reset(new char[IsPooled(bytes) ? block_bytes_ : bytes]);
  return std::shared_ptr<char>(block.release(), [pool = shared_from_this(), bytes](char* given) {
    pool->Give(std::unique_ptr<char[]>(given), bytes);
  });
}

void BlockPool::Give(std::unique_ptr<char[]> block, size_t bytes) {
  if (!IsPooled(bytes)) return;
  absl::MutexLock lock(&mutex_);
  if (kept_.size() < max_kept_) kept_.push_back(std::move(block));
}

ChunkMessage CopyToChunkMessage(const ChunkFields& fields, std::string_view data, BlockPool& pool) {
  std::shared_ptr<char> block = pool.Take(data.size());
  const uint32_t crc32c = CopyWithCrc32c(data, block.get());
  const std::string_view copy(block.get(), data.size());
  return Assemble(fields, copy, crc32c, std::move(block));
}

ChunkMessage ReferToChunkMessage(const ChunkFields& fields, std::string_view data,
                                 std::shared_ptr<const void> kept) {
  return Assemble(fields, data, Crc32c(data), std::move(kept));
}

grpc::ByteBuffer MakeMessage(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace synthvol::server
