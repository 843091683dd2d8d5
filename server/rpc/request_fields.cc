#include "server/rpc/request_fields.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/grpc_status.h"

namespace synthvol::server {

absl::Status CheckCount(uint32_t count, uint32_t start_volume, uint32_t max_volumes) {
  if (count == 0 || count > max_volumes) {
    return BadField("count", absl::StrCat("expected 1 .. ", max_volumes, ", found ", count));
  }
  if (start_volume >= count) {
    return BadField("start_volume",
                    absl::StrCat("expected 0 .. ", count - 1, ", found ", start_volume));
  }
  return absl::OkStatus();
}

absl::Status CheckSeed(absl::string_view field, uint64_t seed, uint32_t count) {
  if (seed <= kMaxSeed && seed + count - 1 <= kMaxSeed) return absl::OkStatus();
  return BadField(field, absl::StrCat("expected 0 .. ", kMaxSeed,
                                      " for it and all that follow (the generator keeps 32 bits), "
                                      "found ",
                                      seed, " with count ", count));
}

absl::Status CheckClassLabel(bool present, int64_t label, const model::ModelConfig& config) {
  if (config.num_classes == 0) {
    return present ? BadField("class_label", "the model has no classes; leave it out")
                   : absl::OkStatus();
  }
  if (present && label >= 0 && label < config.num_classes) return absl::OkStatus();
  return BadField("class_label",
                  absl::StrCat("the model needs a class, 0 .. ", config.num_classes - 1));
}

absl::StatusOr<model::Precision> ParsePrecision(v1::Precision precision) {
  switch (precision) {
    case v1::PRECISION_UNSPECIFIED:
    case v1::PRECISION_FP32:
      return model::Precision::kFp32;
    case v1::PRECISION_BF16:
      return model::Precision::kBf16;
    case v1::PRECISION_TF32:
      return model::Precision::kTf32;
    default:
      return BadField("precision", absl::StrCat("unknown value ", static_cast<int>(precision)));
  }
}

absl::StatusOr<Priority> ParsePriority(v1::Priority priority) {
  switch (priority) {
    case v1::PRIORITY_UNSPECIFIED:
    case v1::PRIORITY_NORMAL:
      return Priority::kNormal;
    case v1::PRIORITY_LOW:
      return Priority::kLow;
    case v1::PRIORITY_HIGH:
      return Priority::kHigh;
    default:
      return BadField("priority", absl::StrCat("unknown value ", static_cast<int>(priority)));
  }
}

absl::StatusOr<bool> ParseDigest(v1::VolumeDigest digest) {
  switch (digest) {
    case v1::VOLUME_DIGEST_UNSPECIFIED:
    case v1::VOLUME_DIGEST_SHA256:
      return true;
    case v1::VOLUME_DIGEST_CRC32C:
      return false;
    default:
      return BadField("digest", absl::StrCat("unknown value ", static_cast<int>(digest)));
  }
}

absl::Status CheckFormat(v1::VolumeFormat format) {
  switch (format) {
    case v1::VOLUME_FORMAT_INT16:
    case v1::VOLUME_FORMAT_FLOAT32:
    case v1::VOLUME_FORMAT_DICOM:
      return absl::OkStatus();
    case v1::VOLUME_FORMAT_UNSPECIFIED:
      return BadField("format", "is required: INT16, FLOAT32 or DICOM");
    default:
      return BadField("format", absl::StrCat("unknown value ", static_cast<int>(format)));
  }
}

absl::Status CheckChunkBytes(uint32_t bytes) {
  if (bytes == 0 || (bytes >= kMinChunkBytes && bytes <= kMaxChunkBytes)) return absl::OkStatus();
  return BadField("max_chunk_bytes", absl::StrCat("expected 0 or ", kMinChunkBytes, " .. ",
                                                  kMaxChunkBytes, ", found ", bytes));
}

const char* ToString(model::Precision precision) {
  switch (precision) {
    case model::Precision::kFp32:
      return "fp32";
    case model::Precision::kBf16:
      return "bf16";
    case model::Precision::kTf32:
      return "tf32";
  }
  return "fp32";
}

v1::Precision ToProto(model::Precision precision) {
  switch (precision) {
    case model::Precision::kFp32:
      return v1::PRECISION_FP32;
    case model::Precision::kBf16:
      return v1::PRECISION_BF16;
    case model::Precision::kTf32:
      return v1::PRECISION_TF32;
  }
  return v1::PRECISION_FP32;
}

}  // namespace synthvol::server
