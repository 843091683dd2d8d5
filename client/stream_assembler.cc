#include "client/stream_assembler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace synthvol::client {
namespace {

constexpr int32_t kLargestSide = 4096;

absl::Status Damaged(const std::string& what) {
  return absl::DataLossError(absl::StrCat("the stream is damaged: ", what));
}

uint64_t BytesPerVoxel(v1::VolumeFormat format) {
  return format == v1::VOLUME_FORMAT_FLOAT32 ? 4 : 2;
}

// A name comes from the server and becomes a file's name here.
bool IsPlainFileName(const std::string& name) {
  if (name.empty() || name.size() > 128 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '_' || c == '-';
  });
}

StreamAssembler::Step Reopen(absl::Status status) {
  return {StreamAssembler::Verdict::kReopen, std::move(status)};
}

StreamAssembler::Step ContinueOrStop(absl::Status status) {
  if (status.ok()) return {};
  return {StreamAssembler::Verdict::kStop, std::move(status)};
}

}  // namespace

StreamAssembler::StreamAssembler(v1::SynthesizeRequest request, VolumeSink& sink,
                                 std::optional<VolumeIdentity> resume_from)
    : request_(std::move(request)),
      sink_(sink),
      volume_(request_.start_volume()),
      identity_(std::move(resume_from)),
      first_slice_(request_.start_slice()) {}

uint64_t StreamAssembler::SliceBytes() const {
  return static_cast<uint64_t>(header_.geometry().size(0)) *
         static_cast<uint64_t>(header_.geometry().size(1)) * BytesPerVoxel(header_.format());
}

uint32_t StreamAssembler::FileCount() const {
  if (request_.dicom().storage() == v1::DICOM_STORAGE_ENHANCED) return 1;
  return static_cast<uint32_t>(header_.geometry().size(2));
}

v1::SynthesizeRequest StreamAssembler::NextRequest() {
  if (begun_ && !spliced_) {
    delivered_hash_ = std::move(stream_hash_);
    spliced_ = true;
  }
  in_volume_ = false;
  v1::SynthesizeRequest next = request_;
  next.set_start_volume(volume_);
  uint32_t slice = first_slice_;
  if (begun_) {
    slice = dicom() ? delivered_.slice : static_cast<uint32_t>(delivered_.offset / SliceBytes());
    // Everything is here but the trailer: ask for the last slice again, to get one.
    const uint32_t slices =
        dicom() ? FileCount() : static_cast<uint32_t>(header_.geometry().size(2));
    slice = std::min(slice, slices - 1);
  }
  next.set_start_slice(slice);
  // Resuming "the newest version" must not become another version half-way.
  if (pinned_version_ > 0) next.mutable_model()->set_version(pinned_version_);
  return next;
}

StreamAssembler::Step StreamAssembler::Consume(const v1::SynthesizeResponse& message) {
  switch (message.part_case()) {
    case v1::SynthesizeResponse::kHeader:
      return OnHeader(message.header());
    case v1::SynthesizeResponse::kChunk:
      return OnChunk(message.chunk());
    case v1::SynthesizeResponse::kTrailer:
      return OnTrailer(message.trailer());
    case v1::SynthesizeResponse::PART_NOT_SET:
      break;
  }
  return Reopen(Damaged("a message is neither header nor chunk nor trailer"));
}

absl::Status StreamAssembler::CheckHeader(const v1::VolumeHeader& header) const {
  if (in_volume_) return Damaged("a header inside a volume");
  if (complete()) return Damaged("a volume more than was asked for");
  if (header.volume_index() != volume_) {
    return Damaged(
        absl::StrCat("header of volume ", header.volume_index(), ", expected ", volume_));
  }
  if (header.format() != request_.format()) return Damaged("header states another format");
  if (request_.has_seed() && (!header.has_seed() || header.seed() != request_.seed() + volume_)) {
    return Damaged(absl::StrCat("header states another seed than ", request_.seed() + volume_));
  }
  const v1::VolumeGeometry& geometry = header.geometry();
  if (geometry.size_size() != 3 || geometry.spacing_mm_size() != 3 ||
      geometry.origin_mm_size() != 3 || geometry.direction_size() != 9) {
    return Damaged("header without a whole geometry");
  }
  uint64_t bytes = BytesPerVoxel(header.format());
  for (const int32_t side : geometry.size()) {
    if (side < 1 || side > kLargestSide) return Damaged(absl::StrCat("volume side ", side));
    bytes *= static_cast<uint64_t>(side);
  }
  if (header.format() != v1::VOLUME_FORMAT_DICOM && header.total_bytes() != bytes) {
    return Damaged(
        absl::StrCat("header states ", header.total_bytes(), " bytes, its geometry ", bytes));
  }
  if (header.start_slice() >= static_cast<uint32_t>(geometry.size(2))) {
    return Damaged(absl::StrCat("start slice ", header.start_slice()));
  }
  return absl::OkStatus();
}

void StreamAssembler::RestartVolume() {
  identity_.reset();
  begun_ = false;
  first_slice_ = 0;
  delivered_ = {};
  delivered_bytes_ = 0;
}

StreamAssembler::Step StreamAssembler::OnHeader(const v1::VolumeHeader& header) {
  if (absl::Status status = CheckHeader(header); !status.ok()) return Reopen(std::move(status));
  if (identity_.has_value() && *identity_ != IdentityOf(header) &&
      (begun_ || header.start_slice() > 0)) {
    // What is here came from another model or build: its bytes and these do not mix.
    RestartVolume();
    if (header.start_slice() > 0) return Reopen(absl::OkStatus());
  }
  identity_ = IdentityOf(header);
  pinned_version_ = header.model_version();
  in_volume_ = true;
  next_ = {};
  if (header.format() == v1::VOLUME_FORMAT_DICOM) {
    next_.slice = header.start_slice();
  } else {
    next_.offset = header.start_slice() * (header.total_bytes() / header.geometry().size(2));
  }
  stream_bytes_ = 0;
  stream_hash_ = Sha256();
  stream_crc32c_ = 0;
  file_name_.clear();
  if (begun_) {
    if (next_ > delivered_) return Reopen(Damaged("the stream skips slices that were asked for"));
    return {};
  }
  if (header.start_slice() > first_slice_) {
    return Reopen(Damaged("the stream skips slices that were asked for"));
  }
  begun_ = true;
  header_ = header;
  delivered_ = next_;
  delivered_bytes_ = 0;
  spliced_ = false;
  return ContinueOrStop(sink_.Begin(header_));
}

absl::Status StreamAssembler::CheckChunk(const v1::VolumeChunk& chunk) const {
  if (!in_volume_) return Damaged("a chunk before a header");
  if (chunk.volume_index() != volume_) return Damaged("a chunk of another volume");
  if (chunk.data().empty()) return Damaged("an empty chunk");
  // An enhanced file's chunks name the slices within the one file.
  const bool names_file = dicom() && FileCount() > 1;
  if (chunk.offset() != next_.offset || (names_file && chunk.slice_index() != next_.slice)) {
    return Damaged(absl::StrCat("a chunk at offset ", chunk.offset(), ", expected ", next_.offset));
  }
  if (Crc32c(chunk.data()) != chunk.crc32c()) {
    return Damaged(
        absl::StrCat("CRC32C of the chunk at offset ", chunk.offset(), " does not match"));
  }
  if (!dicom()) {
    if (chunk.data().size() > header_.total_bytes() - chunk.offset()) {
      return Damaged("more bytes than the header states");
    }
    return absl::OkStatus();
  }
  if (next_.slice >= FileCount()) return Damaged("more files than slices");
  if (chunk.offset() == 0 && !IsPlainFileName(chunk.file_name())) {
    return Damaged("a file name with other than letters, digits, '_', '-' and '.'");
  }
  return absl::OkStatus();
}

StreamAssembler::Step StreamAssembler::OnChunk(const v1::VolumeChunk& chunk) {
  if (absl::Status status = CheckChunk(chunk); !status.ok()) return Reopen(std::move(status));
  if (wants_sha256()) {
    stream_hash_.Update(chunk.data());
  } else {
    stream_crc32c_ = ConcatCrc32c(stream_crc32c_, chunk.crc32c(), chunk.data().size());
  }
  stream_bytes_ += chunk.data().size();
  if (dicom() && chunk.offset() == 0) file_name_ = chunk.file_name();
  if (absl::Status status = Deliver(chunk); !status.ok()) {
    return {Verdict::kStop, std::move(status)};
  }
  next_.offset += chunk.data().size();
  if (dicom() && chunk.last_of_file()) next_ = {next_.slice + 1, 0};
  delivered_ = std::max(delivered_, next_);
  high_water_ = std::max(high_water_, completed_bytes_ + delivered_bytes_);
  return {};
}

absl::Status StreamAssembler::Deliver(const v1::VolumeChunk& chunk) {
  if (dicom() && next_.slice < delivered_.slice) return absl::OkStatus();
  const uint64_t end = chunk.offset() + chunk.data().size();
  const uint64_t held = delivered_.offset;
  if (held >= end) return absl::OkStatus();
  const uint64_t begin = std::max<uint64_t>(chunk.offset(), held);
  VolumeData data;
  data.volume_index = volume_;
  data.offset = begin;
  data.data = chunk.data();
  data.data.remove_prefix(begin - chunk.offset());
  data.slice_index = dicom() ? next_.slice : static_cast<uint32_t>(begin / SliceBytes());
  data.file_name = file_name_;
  data.last_of_file = dicom() && chunk.last_of_file();
  if (spliced_ && wants_sha256()) delivered_hash_.Update(data.data);
  delivered_bytes_ += data.data.size();
  return sink_.Data(data);
}

absl::Status StreamAssembler::CheckTrailer(const v1::VolumeTrailer& trailer) {
  if (!in_volume_) return Damaged("a trailer before a header");
  if (trailer.volume_index() != volume_) return Damaged("a trailer of another volume");
  if (trailer.byte_count() != stream_bytes_) {
    return Damaged(absl::StrCat("the trailer states ", trailer.byte_count(), " bytes, ",
                                stream_bytes_, " came"));
  }
  const bool whole =
      dicom() ? next_ == Position{FileCount(), 0} : next_.offset == header_.total_bytes();
  if (!whole) return Damaged("the trailer came before the last slice");
  if (wants_sha256() && trailer.sha256() != stream_hash_.Finish()) {
    return Damaged(absl::StrCat("SHA-256 of volume ", volume_, " does not match"));
  }
  if (!wants_sha256() && (!trailer.has_crc32c() || trailer.crc32c() != stream_crc32c_)) {
    return Damaged(absl::StrCat("CRC32C of volume ", volume_, " does not match"));
  }
  return absl::OkStatus();
}

StreamAssembler::Step StreamAssembler::OnTrailer(const v1::VolumeTrailer& trailer) {
  if (absl::Status status = CheckTrailer(trailer); !status.ok()) {
    // Which byte is wrong is unknown, so none of the volume is kept.
    if (in_volume_) RestartVolume();
    return Reopen(std::move(status));
  }
  std::string digest;
  if (wants_sha256()) digest = spliced_ ? delivered_hash_.Finish() : trailer.sha256();
  const absl::Status status = sink_.End(trailer, absl::BytesToHexString(digest));
  completed_bytes_ += delivered_bytes_;
  ++volume_;
  in_volume_ = false;
  begun_ = false;
  first_slice_ = 0;
  delivered_ = {};
  delivered_bytes_ = 0;
  return ContinueOrStop(status);
}

}  // namespace synthvol::client
