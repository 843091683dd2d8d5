#include "model/train/tensorboard_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/checksum.h"

namespace synthvol::model {
namespace {

// Field numbers of tensorflow/core/util/event.proto and framework/summary.proto.
constexpr uint32_t kEventWallTime = 1;
constexpr uint32_t kEventStep = 2;
constexpr uint32_t kEventFileVersion = 3;
constexpr uint32_t kEventSummary = 5;
constexpr uint32_t kEventSessionLog = 7;
constexpr uint32_t kSessionLogStatus = 1;
constexpr uint64_t kSessionStart = 1;
constexpr uint32_t kSummaryValue = 1;
constexpr uint32_t kValueTag = 1;
constexpr uint32_t kValueScalar = 2;
constexpr uint32_t kValueImage = 4;
constexpr uint32_t kImageHeight = 1;
constexpr uint32_t kImageWidth = 2;
constexpr uint32_t kImageColorspace = 3;
constexpr uint32_t kImageEncoded = 4;
constexpr uint64_t kGreyscale = 1;

template <typename T>
void AppendRaw(T value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void AppendVarintField(uint32_t field, uint64_t value, std::string& out) {
  AppendVarint(uint64_t{field} << 3, out);
  AppendVarint(value, out);
}

void AppendBytesField(uint32_t field, std::string_view bytes, std::string& out) {
  AppendVarint(uint64_t{field} << 3 | 2, out);
  AppendVarint(bytes.size(), out);
  out.append(bytes);
}

void AppendDoubleField(uint32_t field, double value, std::string& out) {
  AppendVarint(uint64_t{field} << 3 | 1, out);
  AppendRaw(value, out);
}

void AppendFloatField(uint32_t field, float value, std::string& out) {
  AppendVarint(uint64_t{field} << 3 | 5, out);
  AppendRaw(value, out);
}

// TFRecord's masked checksum.
uint32_t Masked(std::string_view data) {
  const uint32_t crc = Crc32c(data);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
}

}  // namespace

absl::StatusOr<TensorBoardWriter> TensorBoardWriter::Create(const std::string& folder,
                                                            int64_t first_step) {
  char host[256] = "localhost";
  gethostname(host, sizeof(host) - 1);
  const std::string path = absl::StrCat(folder, "/events.out.tfevents.",
                                        absl::ToUnixSeconds(absl::Now()), ".", host, ".", getpid());
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr) {
    return absl::InternalError(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
  }
  TensorBoardWriter writer(file, path);
  std::string version;
  AppendBytesField(kEventFileVersion, "brain.Event:2", version);
  if (auto status = writer.WriteEvent(0, version); !status.ok()) return status;
  if (first_step > 0) {
    std::string log;
    AppendVarintField(kSessionLogStatus, kSessionStart, log);
    std::string field;
    AppendBytesField(kEventSessionLog, log, field);
    if (auto status = writer.WriteEvent(first_step, field); !status.ok()) return status;
  }
  return writer;
}

absl::Status TensorBoardWriter::AddScalars(
    int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;
    AppendBytesField(kValueTag, tag, value);
    AppendFloatField(kValueScalar, static_cast<float>(number), value);
    AppendBytesField(kSummaryValue, value, summary);
  }
  std::string field;
  AppendBytesField(kEventSummary, summary, field);
  return WriteEvent(step, field);
}

absl::Status TensorBoardWriter::AddImage(int64_t step, const std::string& tag, int width,
                                         int height, std::string_view png) {
  std::string image;
  AppendVarintField(kImageHeight, static_cast<uint64_t>(height), image);
  AppendVarintField(kImageWidth, static_cast<uint64_t>(width), image);
  AppendVarintField(kImageColorspace, kGreyscale, image);
  AppendBytesField(kImageEncoded, png, image);
  std::string value;
  AppendBytesField(kValueTag, tag, value);
  AppendBytesField(kValueImage, image, value);
  std::string summary;
  AppendBytesField(kSummaryValue, value, summary);
  std::string field;
  AppendBytesField(kEventSummary, summary, field);
  return WriteEvent(step, field);
}

absl::Status TensorBoardWriter::WriteEvent(int64_t step, std::string_view field) {
  std::string event;
  AppendDoubleField(kEventWallTime, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()), event);
  AppendVarintField(kEventStep, static_cast<uint64_t>(step), event);
  event.append(field);

  std::string record;
  AppendRaw(static_cast<uint64_t>(event.size()), record);
  AppendRaw(Masked(record), record);
  record.append(event);
  AppendRaw(Masked(event), record);
  if (std::fwrite(record.data(), 1, record.size(), file_.get()) != record.size() ||
      std::fflush(file_.get()) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path_, ": cannot write: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace synthvol::model
