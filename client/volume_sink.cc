#include "client/volume_sink.h"

#include <utility>

namespace synthvol::client {

void VolumeSink::Retrying(const absl::Status& /*why*/, const std::string& /*next_endpoint*/,
                          absl::Duration /*pause*/) {}

absl::Status MemorySink::Begin(const v1::VolumeHeader& header) {
  current_ = ReceivedVolume{};
  current_.header = header;
  current_.data.reserve(header.total_bytes());
  return absl::OkStatus();
}

absl::Status MemorySink::Data(const VolumeData& data) {
  if (data.file_name.empty()) {
    current_.data.append(data.data);
    return absl::OkStatus();
  }
  if (data.offset == 0) current_.files.emplace_back(std::string(data.file_name), std::string());
  current_.files.back().second.append(data.data);
  return absl::OkStatus();
}

absl::Status MemorySink::End(const v1::VolumeTrailer& /*trailer*/, const std::string& sha256) {
  current_.sha256 = sha256;
  volumes_.push_back(std::move(current_));
  return absl::OkStatus();
}

}  // namespace synthvol::client
