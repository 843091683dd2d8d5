#include "server/rpc/volume_sender.h"

#include <algorithm>
#include <utility>

#include "base/checksum.h"
#include "base/version.h"
#include "imaging/volume.h"

namespace synthvol::server {
namespace {

// int16 or float32 voxels, as they lie in memory (the wire is little-endian, as is the machine).
class RawSender final : public VolumeSender {
 public:
  RawSender(const SynthesisPlan& plan, uint32_t index, const StreamTarget& target)
      : VolumeSender(plan, index, target), stored_(plan.format == v1::VOLUME_FORMAT_INT16) {}

  absl::Status Add(const model::Slab& slab) override {
    const std::string_view bytes =
        stored_ ? std::string_view(reinterpret_cast<const char*>(slab.stored.data()),
                                   slab.stored.size() * sizeof(int16_t))
                : std::string_view(reinterpret_cast<const char*>(slab.unit.data()),
                                   slab.unit.size() * sizeof(float));
    const std::shared_ptr<const void> kept = slab.keep ? slab.keep() : nullptr;
    const size_t slice_bytes = bytes.size() / slab.slice_count;
    // Whole slices where one fits into a chunk.
    const int64_t step = std::max<int64_t>(1, chunks_.options().chunk_bytes / slice_bytes);
    for (int64_t slice = 0; slice < slab.slice_count; slice += step) {
      const int64_t count = std::min(step, slab.slice_count - slice);
      ChunkFields fields;
      fields.slice_index = static_cast<uint32_t>(slab.first_slice + slice);
      chunks_.Send(bytes.substr(slice * slice_bytes, count * slice_bytes),
                   (slab.first_slice + slice) * slice_bytes, fields, kept);
    }
    return absl::OkStatus();
  }

 private:
  const bool stored_;
};

class DicomSender final : public VolumeSender {
 public:
  DicomSender(const SynthesisPlan& plan, uint32_t index, uint32_t start_slice,
              const StreamTarget& target, std::unique_ptr<imaging::dicom::SeriesEncoder> encoder)
      : VolumeSender(plan, index, target),
        start_slice_(start_slice),
        encoder_(std::move(encoder)) {}

  absl::Status Add(const model::Slab& slab) override {
    const size_t voxels = slab.stored.size() / slab.slice_count;
    for (int64_t i = 0; i < slab.slice_count; ++i) {
      const int64_t slice = slab.first_slice + i;
      absl::Status encoded =
          encoder_->EncodeSlice(slice, slab.stored.subspan(i * voxels, voxels), &encoded_);
      if (!encoded.ok()) return encoded;
      if (encoded_.first_of_instance) offset_ = 0;
      if (slice >= start_slice_) SendSlice(slice);
      offset_ += encoded_.bytes.size();
    }
    return absl::OkStatus();
  }

 private:
  void SendSlice(int64_t slice) {
    ChunkFields fields;
    fields.slice_index = static_cast<uint32_t>(slice);
    fields.last_of_file = encoded_.last_of_instance;
    std::string name;
    if (encoded_.first_of_instance || slice == start_slice_) {
      name = encoder_->FileName(encoded_.instance);
    }
    fields.file_name = name;
    chunks_.Send(encoded_.bytes, offset_, fields);
  }

  const int64_t start_slice_;
  const std::unique_ptr<imaging::dicom::SeriesEncoder> encoder_;
  // Reused from slice to slice.
  imaging::dicom::EncodedSlice encoded_;
  // Where the next slice begins in its file.
  uint64_t offset_ = 0;
};

}  // namespace

ChunkSender::ChunkSender(const StreamTarget& target, const ChunkOptions& options)
    : target_(target), options_(options) {
  if (options.sha256) sha256_.emplace(target.hashing);
}

void ChunkSender::Send(std::string_view data, uint64_t offset, const ChunkFields& fields,
                       const std::shared_ptr<const void>& kept) {
  for (size_t begin = 0; begin < data.size(); begin += options_.chunk_bytes) {
    const std::string_view piece = data.substr(begin, options_.chunk_bytes);
    const bool last = begin + piece.size() == data.size();
    ChunkFields piece_fields = fields;
    piece_fields.volume_index = options_.volume_index;
    piece_fields.offset = offset + begin;
    piece_fields.last_of_file = fields.last_of_file && last;
    if (begin > 0) piece_fields.file_name = {};
    byte_count_ += piece.size();
    const ChunkMessage message = kept == nullptr
                                     ? CopyToChunkMessage(piece_fields, piece, target_.pool)
                                     : ReferToChunkMessage(piece_fields, piece, kept);
    crc32c_ = ConcatCrc32c(crc32c_, message.crc32c, piece.size());
    if (sha256_.has_value()) sha256_->Update(message.data);
    target_.writer.Push(message.bytes);
  }
}

void ChunkSender::FillTrailer(v1::VolumeTrailer& trailer) {
  trailer.set_volume_index(options_.volume_index);
  trailer.set_byte_count(byte_count_);
  trailer.set_crc32c(crc32c_);
  if (sha256_.has_value()) trailer.set_sha256(sha256_->Finish());
}

VolumeSender::VolumeSender(const SynthesisPlan& plan, uint32_t index, const StreamTarget& target)
    : chunks_(target,
              {.volume_index = index, .chunk_bytes = plan.chunk_bytes, .sha256 = plan.sha256}) {}

absl::StatusOr<std::unique_ptr<VolumeSender>> VolumeSender::Create(const SynthesisPlan& plan,
                                                                   uint32_t index, const Draw& draw,
                                                                   uint32_t start_slice,
                                                                   const StreamTarget& target) {
  if (plan.format != v1::VOLUME_FORMAT_DICOM) {
    return std::make_unique<RawSender>(plan, index, target);
  }
  auto encoder = imaging::dicom::SeriesEncoder::Create(DescribeSeries(plan, index, draw));
  if (!encoder.ok()) return encoder.status();
  return std::make_unique<DicomSender>(plan, index, start_slice, target, *std::move(encoder));
}

v1::SynthesizeResponse MakeHeader(const SynthesisPlan& plan, const ServableModel& model,
                                  uint32_t index, const Draw& draw, uint32_t start_slice,
                                  bool cuda) {
  v1::SynthesizeResponse response;
  v1::VolumeHeader& header = *response.mutable_header();
  header.set_volume_index(index);
  if (plan.seed.has_value()) header.set_seed(*plan.seed + index);
  header.set_model_name(model.name);
  header.set_model_version(model.version);
  header.set_model_digest(model.digest);
  header.set_format(plan.format);
  header.set_precision(ToProto(plan.precision));
  const imaging::Geometry geometry = imaging::CentredCube(model.config.size, model.config.spacing);
  v1::VolumeGeometry& wire = *header.mutable_geometry();
  for (const int64_t size : geometry.size) wire.add_size(static_cast<int32_t>(size));
  wire.mutable_spacing_mm()->Add(geometry.spacing.begin(), geometry.spacing.end());
  wire.mutable_origin_mm()->Add(geometry.origin.begin(), geometry.origin.end());
  wire.mutable_direction()->Add(geometry.direction.begin(), geometry.direction.end());
  header.set_window_low(model.config.window.low);
  header.set_window_high(model.config.window.high);
  if (plan.format != v1::VOLUME_FORMAT_DICOM) {
    header.set_total_bytes(EstimateVolumeBytes(plan, model.config.size));
  }
  header.set_start_slice(start_slice);
  header.set_request_id(plan.request_id);
  header.set_build(Build());
  header.set_device_class(cuda ? "cuda" : "cpu");
  if (plan.class_label >= 0) header.set_class_label(static_cast<int32_t>(plan.class_label));
  header.set_modality(model.config.modality);
  header.set_plausibility(draw.plausibility);
  if (draw.redraws > 0) {
    header.set_drawn_seed(draw.seed);
    header.set_redraws(draw.redraws);
  }
  return response;
}

}  // namespace synthvol::server
