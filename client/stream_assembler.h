// Checks the messages of Synthesize streams and hands a sink one gapless sequence of bytes, across
// any number of broken streams. Knows nothing of connections.
//
// Not thread-safe. Refers to a sink that it does not own.
//
//   NextRequest -> open a stream -> Consume each message -> complete()? done
//        ^                              |
//        +------- broken or damaged ----+
#ifndef SYNTHVOL_CLIENT_STREAM_ASSEMBLER_H_
#define SYNTHVOL_CLIENT_STREAM_ASSEMBLER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/checksum.h"
#include "client/client.h"
#include "client/volume_sink.h"

namespace synthvol::client {

class StreamAssembler {
 public:
  // What to do after a message.
  enum class Verdict {
    kContinue,  // read the next message
    kReopen,    // open another stream: this one is damaged (`status`), or of another build (status
                // OK)
    kStop,      // give up: the sink refused
  };
  struct Step {
    Verdict verdict = Verdict::kContinue;
    absl::Status status;
  };

  StreamAssembler(v1::SynthesizeRequest request, VolumeSink& sink,
                  std::optional<VolumeIdentity> resume_from);

  // Returns the request that asks for what is missing, and forgets the stream before.
  v1::SynthesizeRequest NextRequest();
  // Takes the next message of the stream opened with NextRequest().
  Step Consume(const v1::SynthesizeResponse& message);

  // Whether every volume is complete.
  bool complete() const { return volume_ == request_.count(); }
  // Returns the most bytes ever held of all volumes; grows only when something new arrived.
  uint64_t high_water() const { return high_water_; }

 private:
  // A place in a volume. Raw formats use `offset` alone, in the volume; DICOM counts files (one a
  // slice, or one in all) in `slice` and has the offset in one.
  struct Position {
    uint32_t slice = 0;
    uint64_t offset = 0;
    // clang-tidy 14 takes <=> for a null pointer.
    // NOLINTNEXTLINE(modernize-use-nullptr)
    friend auto operator<=>(const Position&, const Position&) = default;
  };

  Step OnHeader(const v1::VolumeHeader& header);
  Step OnChunk(const v1::VolumeChunk& chunk);
  Step OnTrailer(const v1::VolumeTrailer& trailer);
  absl::Status CheckHeader(const v1::VolumeHeader& header) const;
  absl::Status CheckChunk(const v1::VolumeChunk& chunk) const;
  absl::Status CheckTrailer(const v1::VolumeTrailer& trailer);
  // Hands on what of the chunk is new.
  absl::Status Deliver(const v1::VolumeChunk& chunk);
  void RestartVolume();
  bool wants_sha256() const { return request_.digest() != v1::VOLUME_DIGEST_CRC32C; }
  bool dicom() const { return header_.format() == v1::VOLUME_FORMAT_DICOM; }
  uint64_t SliceBytes() const;
  uint32_t FileCount() const;

  const v1::SynthesizeRequest request_;
  VolumeSink& sink_;

  // Of the volume in progress.
  uint32_t volume_;
  v1::VolumeHeader header_;
  std::optional<VolumeIdentity> identity_;
  int64_t pinned_version_ = 0;
  bool begun_ = false;        // the sink had Begin
  uint32_t first_slice_ = 0;  // where the sink's data began
  Position delivered_;        // where the sink's data ends
  uint64_t delivered_bytes_ = 0;
  // Over the sink's data, once the volume is made of more than one stream; until then
  // `stream_hash_` is the same. Both stay unused when CRC32C is asked for.
  bool spliced_ = false;
  Sha256 delivered_hash_;

  // Of the stream in progress.
  bool in_volume_ = false;
  Position next_;
  uint64_t stream_bytes_ = 0;
  Sha256 stream_hash_;
  uint32_t stream_crc32c_ = 0;
  std::string file_name_;

  uint64_t completed_bytes_ = 0;
  uint64_t high_water_ = 0;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_STREAM_ASSEMBLER_H_
