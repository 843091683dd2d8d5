#include "tests/client/fake_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/checksum.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace synthvol::client {
namespace {

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

std::string Noise(uint64_t key, uint64_t bytes) {
  std::string data(bytes, '\0');
  for (uint64_t i = 0; i < bytes; i += 2) {
    // int16 within a CT's range, so that writers with a window have something to show.
    const auto voxel = static_cast<int16_t>(Mix(key + (i >> 1)) % 1624) - 1024;
    data[i] = static_cast<char>(voxel & 0xff);
    if (i + 1 < bytes) data[i + 1] = static_cast<char>((voxel >> 8) & 0xff);
  }
  return data;
}

uint64_t Key(uint64_t seed, const std::string& build) {
  uint64_t key = Mix(seed);
  for (const char c : build) key = Mix(key ^ static_cast<unsigned char>(c));
  return key;
}

}  // namespace

std::string FakeVolume(uint64_t seed, const std::string& build, uint64_t bytes) {
  return Noise(Key(seed, build), bytes);
}

std::string FakeDicomFile(uint64_t seed, const std::string& build, uint32_t slice) {
  return Noise(Key(seed, build) + (uint64_t{slice} << 40), 4000 + slice * 37);
}

// What one Synthesize call keeps.
struct FakeServer::Stream {
  grpc::ServerContext& context;
  const v1::SynthesizeRequest& request;
  grpc::ServerWriter<v1::SynthesizeResponse>& writer;
  Fault fault;
  uint64_t sent = 0;   // on this stream
  std::string volume;  // what was sent of this volume on this stream
};

FakeServer::FakeServer(FakeServerOptions options)
    : options_(std::move(options)), random_(options_.random_seed) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(
      options_.address,
      options_.credentials ? options_.credentials : grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() {
  if (server_) server_->Shutdown(absl::ToChronoTime(absl::Now()));
}

std::string FakeServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

void FakeServer::Plan(Fault fault) {
  const absl::MutexLock lock(&mutex_);
  plan_.push_back(fault);
}

std::vector<v1::SynthesizeRequest> FakeServer::requests() const {
  const absl::MutexLock lock(&mutex_);
  return requests_;
}

int FakeServer::cancelled_calls() const {
  const absl::MutexLock lock(&mutex_);
  return cancelled_calls_;
}

grpc::Status FakeServer::Authenticate(const grpc::ServerContext& context) const {
  if (options_.token.empty()) return grpc::Status::OK;
  const auto found = context.client_metadata().find("authorization");
  const std::string expected = absl::StrCat("Bearer ", options_.token);
  if (found != context.client_metadata().end() && found->second == expected)
    return grpc::Status::OK;
  return {grpc::StatusCode::UNAUTHENTICATED, "no valid bearer token"};
}

v1::Model FakeServer::DescribeModel() const {
  v1::Model model;
  model.set_name("fake");
  model.set_version(3);
  model.set_state(v1::MODEL_STATE_READY);
  model.set_digest(options_.digest);
  model.set_architecture("crf-gan");
  model.set_size(options_.size);
  model.set_latent_dim(16);
  for (int axis = 0; axis < 3; ++axis) model.add_spacing_mm(1.5);
  model.set_window_low(-1024);
  model.set_window_high(600);
  model.set_modality("CT");
  return model;
}

grpc::Status FakeServer::ListModels(grpc::ServerContext* context, const v1::ListModelsRequest*,
                                    v1::ListModelsResponse* response) {
  if (grpc::Status status = Authenticate(*context); !status.ok()) return status;
  *response->add_models() = DescribeModel();
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                                  v1::GetModelResponse* response) {
  if (grpc::Status status = Authenticate(*context); !status.ok()) return status;
  if (request->model().name() != "fake") {
    return {grpc::StatusCode::NOT_FOUND,
            absl::StrCat("model '", request->model().name(), "' is not in the repository")};
  }
  *response->mutable_model() = DescribeModel();
  return grpc::Status::OK;
}

grpc::Status FakeServer::BreakStatus(const Fault& fault) const {
  google::rpc::Status details;
  details.set_code(fault.code);
  details.set_message("planned fault");
  google::rpc::ErrorInfo info;
  info.set_domain("synthvol");
  info.set_reason("PLANNED_FAULT");
  details.add_details()->PackFrom(info);
  if (fault.retry_seconds >= 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(fault.retry_seconds * 1e9));
    details.add_details()->PackFrom(retry);
  }
  return {fault.code, details.message(), details.SerializeAsString()};
}

bool FakeServer::Strikes(Stream& stream, FaultKind kind) {
  if (stream.fault.kind != kind || stream.sent < stream.fault.after_bytes) return false;
  stream.fault.kind = FaultKind::kNone;
  return true;
}

grpc::Status FakeServer::Synthesize(grpc::ServerContext* context,
                                    const v1::SynthesizeRequest* request,
                                    grpc::ServerWriter<v1::SynthesizeResponse>* writer) {
  if (grpc::Status status = Authenticate(*context); !status.ok()) return status;
  if (request->count() == 0) return {grpc::StatusCode::INVALID_ARGUMENT, "count: expected 1..1000"};
  Stream stream{*context, *request, *writer, {}, 0, {}};
  {
    const absl::MutexLock lock(&mutex_);
    requests_.push_back(*request);
    if (!plan_.empty()) {
      stream.fault = plan_.front();
      plan_.pop_front();
    }
  }
  for (uint32_t index = request->start_volume(); index < request->count(); ++index) {
    const uint32_t start = index == request->start_volume() ? request->start_slice() : 0;
    grpc::Status status = SendVolume(stream, index, start);
    if (!status.ok() || stream.context.IsCancelled()) {
      if (stream.context.IsCancelled()) {
        const absl::MutexLock lock(&mutex_);
        ++cancelled_calls_;
      }
      return status;
    }
    if (stream.fault.kind == FaultKind::kEndEarly && stream.sent >= stream.fault.after_bytes) {
      return grpc::Status::OK;
    }
  }
  const Fault planned = stream.fault;
  if (Strikes(stream, FaultKind::kBreak)) return BreakStatus(planned);
  return grpc::Status::OK;
}

grpc::Status FakeServer::SendVolume(Stream& stream, uint32_t index, uint32_t start_slice) {
  const uint64_t seed = stream.request.seed() + index;
  const auto side = static_cast<uint64_t>(options_.size);
  const v1::VolumeFormat format = stream.request.format();
  v1::SynthesizeResponse message;
  v1::VolumeHeader& header = *message.mutable_header();
  header.set_volume_index(index);
  header.set_seed(seed + (Strikes(stream, FaultKind::kWrongSeed) ? 1 : 0));
  header.set_model_name("fake");
  header.set_model_version(3);
  header.set_model_digest(options_.digest);
  header.set_format(format);
  header.set_precision(v1::PRECISION_FP32);
  for (int axis = 0; axis < 3; ++axis) {
    header.mutable_geometry()->add_size(options_.size);
    header.mutable_geometry()->add_spacing_mm(1.5);
    header.mutable_geometry()->add_origin_mm(-10.0 * (axis + 1));
    for (int column = 0; column < 3; ++column) {
      header.mutable_geometry()->add_direction(axis == column ? 1 : 0);
    }
  }
  if (Strikes(stream, FaultKind::kHugeGeometry)) header.mutable_geometry()->set_size(2, 1 << 30);
  header.set_window_low(-1024);
  header.set_window_high(600);
  if (format != v1::VOLUME_FORMAT_DICOM) {
    header.set_total_bytes(side * side * side * (format == v1::VOLUME_FORMAT_FLOAT32 ? 4 : 2));
  }
  header.set_start_slice(start_slice);
  header.set_build(options_.build);
  header.set_device_class("cpu");
  header.set_modality("CT");
  if (!stream.writer.Write(message)) return grpc::Status::CANCELLED;
  stream.volume.clear();
  grpc::Status status = format == v1::VOLUME_FORMAT_DICOM
                            ? SendDicom(stream, index, seed, start_slice)
                            : SendRaw(stream, index, seed, start_slice);
  if (!status.ok()) return status;
  if (Strikes(stream, FaultKind::kEndEarly)) {
    stream.fault = {FaultKind::kEndEarly, 0, grpc::StatusCode::OK, -1};
    return grpc::Status::OK;
  }
  v1::VolumeTrailer& trailer = *message.mutable_trailer();
  trailer.set_volume_index(index);
  trailer.set_byte_count(stream.volume.size());
  const bool corrupt = Strikes(stream, FaultKind::kCorruptSha);
  trailer.set_crc32c(Crc32c(stream.volume) ^ (corrupt ? 1 : 0));
  if (stream.request.digest() != v1::VOLUME_DIGEST_CRC32C) {
    Sha256 sha256;
    sha256.Update(stream.volume);
    std::string digest = sha256.Finish();
    if (corrupt) digest[0] = static_cast<char>(digest[0] ^ 1);
    trailer.set_sha256(digest);
  }
  trailer.set_slice_count(static_cast<uint32_t>(options_.size) - start_slice);
  return stream.writer.Write(message) ? grpc::Status::OK : grpc::Status::CANCELLED;
}

grpc::Status FakeServer::SendRaw(Stream& stream, uint32_t index, uint64_t seed,
                                 uint32_t start_slice) {
  const auto side = static_cast<uint64_t>(options_.size);
  const uint64_t voxel = stream.request.format() == v1::VOLUME_FORMAT_FLOAT32 ? 4 : 2;
  const std::string volume = FakeVolume(seed, options_.build, side * side * side * voxel);
  for (uint64_t offset = start_slice * side * side * voxel; offset < volume.size();
       offset += options_.chunk_bytes) {
    v1::VolumeChunk chunk;
    chunk.set_volume_index(index);
    chunk.set_offset(offset);
    chunk.set_data(volume.substr(offset, options_.chunk_bytes));
    chunk.set_slice_index(static_cast<uint32_t>(offset / (side * side * voxel)));
    if (grpc::Status status = SendChunk(stream, std::move(chunk)); !status.ok()) return status;
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::SendDicom(Stream& stream, uint32_t index, uint64_t seed,
                                   uint32_t start_slice) {
  for (uint32_t slice = start_slice; slice < static_cast<uint32_t>(options_.size); ++slice) {
    const std::string file = FakeDicomFile(seed, options_.build, slice);
    for (uint64_t offset = 0; offset < file.size(); offset += options_.chunk_bytes) {
      v1::VolumeChunk chunk;
      chunk.set_volume_index(index);
      chunk.set_offset(offset);
      chunk.set_data(file.substr(offset, options_.chunk_bytes));
      chunk.set_slice_index(slice);
      if (offset == 0) {
        chunk.set_file_name(Strikes(stream, FaultKind::kEvilFileName)
                                ? "../../escape"
                                : absl::StrFormat("IM%04d.dcm", slice + 1));
      }
      chunk.set_last_of_file(offset + options_.chunk_bytes >= file.size());
      if (grpc::Status status = SendChunk(stream, std::move(chunk)); !status.ok()) return status;
    }
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::SendChunk(Stream& stream, v1::VolumeChunk chunk) {
  if (Strikes(stream, FaultKind::kHang)) {
    while (!stream.context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  }
  const Fault planned = stream.fault;
  if (Strikes(stream, FaultKind::kBreak)) return BreakStatus(planned);
  if (options_.break_probability > 0) {
    const absl::MutexLock lock(&mutex_);
    if (std::uniform_real_distribution<>(0, 1)(random_) < options_.break_probability) {
      return BreakStatus({FaultKind::kBreak, 0, grpc::StatusCode::UNAVAILABLE, 0.001});
    }
  }
  if (options_.per_chunk > absl::ZeroDuration()) absl::SleepFor(options_.per_chunk);
  chunk.set_crc32c(Crc32c(chunk.data()) ^ (Strikes(stream, FaultKind::kCorruptCrc) ? 1 : 0));
  stream.volume += chunk.data();
  stream.sent += chunk.data().size();
  if (Strikes(stream, FaultKind::kSkipChunk)) return grpc::Status::OK;
  v1::SynthesizeResponse message;
  *message.mutable_chunk() = std::move(chunk);
  return stream.writer.Write(message) ? grpc::Status::OK : grpc::Status::CANCELLED;
}

}  // namespace synthvol::client
