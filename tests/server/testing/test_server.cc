#include "tests/server/testing/test_server.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/atomic_file.h"
#include "base/checksum.h"
#include "model/checkpoint/hash_weights.h"
#include "server/config/config.h"

namespace synthvol::server {
namespace {

namespace fs = std::filesystem;

// A fixture that cannot be made is no test result.
void Require(bool ok, const std::string& what) {
  if (ok) return;
  std::cerr << "test server: " << what << "\n";
  std::abort();
}

template <typename Detail>
std::optional<Detail> FindDetail(const grpc::Status& status) {
  google::rpc::Status wire;
  if (!wire.ParseFromString(status.error_details())) return std::nullopt;
  std::optional<Detail> found;
  for (const auto& any : wire.details()) {
    Detail detail;
    if (!any.UnpackTo(&detail)) continue;
    if (found.has_value()) return std::nullopt;
    found = detail;
  }
  return found;
}

// Takes one message into `received`; returns what is wrong with it.
std::string Take(const v1::SynthesizeResponse& response, Received& received, bool& open) {
  if (response.has_header()) {
    if (open) return "a header inside a volume";
    open = true;
    received.headers.push_back(response.header());
    received.volumes.emplace_back();
    received.files.emplace_back();
    return "";
  }
  if (!open) return "a message outside of a volume";
  std::string& volume = received.volumes.back();
  if (response.has_chunk()) {
    const v1::VolumeChunk& chunk = response.chunk();
    if (Crc32c(chunk.data()) != chunk.crc32c()) return "a wrong CRC32C";
    if (chunk.volume_index() != received.headers.back().volume_index()) return "a wrong volume";
    volume += chunk.data();
    if (!chunk.file_name().empty()) received.files.back()[chunk.file_name()];
    if (!received.files.back().empty()) received.files.back().rbegin()->second += chunk.data();
    return "";
  }
  const v1::VolumeTrailer& trailer = response.trailer();
  open = false;
  received.trailers.push_back(trailer);
  if (!trailer.has_crc32c() || trailer.crc32c() != Crc32c(volume)) return "a wrong CRC32C in all";
  Sha256 sha256;
  sha256.Update(volume);
  if (!trailer.sha256().empty() && sha256.Finish() != trailer.sha256()) return "a wrong SHA-256";
  return trailer.byte_count() == volume.size() ? "" : "a wrong byte count";
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string path = (fs::temp_directory_path() / "synthvol-server-XXXXXX").string();
  Require(mkdtemp(path.data()) != nullptr, "no temporary folder");
  path_ = path;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void WriteTestModel(const std::string& repository, const TestModel& model) {
  model::ModelConfig config;
  config.size = 64;
  config.channels = model.channels;
  config.latent_dim = 16;
  config.num_classes = model.num_classes;
  config.spacing = {1.5, 1.5, 2.0};
  config.plausibility_json = model.plausibility;
  config.provenance = {{"salt", absl::StrCat(model.salt)}};
  const std::string folder = absl::StrCat(repository, "/", model.name, "/", model.version);
  const std::string fresh = absl::StrCat(repository, "/.new-", model.name);
  fs::create_directories(fresh);
  const model::HashedWeights weights = model::MakeHashedGenerator(config, model.salt);
  Require(model::WriteCheckpoint(fresh, config, weights.Named()).ok(), "no checkpoint");
  fs::create_directories(absl::StrCat(repository, "/", model.name));
  fs::remove_all(folder);
  fs::rename(fresh, folder);
}

TestServer::TestServer(const Configure& configure, const std::vector<TestModel>& models) {
  for (const TestModel& model : models) WriteTestModel(folder_.path(), model);
  v1::ServerConfig config;
  config.set_model_repository(folder_.path());
  config.set_listen("127.0.0.1:0");
  config.set_metrics_listen("off");
  config.mutable_log()->set_level("error");
  config.mutable_models()->mutable_poll_interval()->set_nanos(50000000);
  if (configure) configure(config);
  CompleteConfig(config);
  const absl::Status checked = CheckConfig(config);
  Require(checked.ok(), checked.ToString());
  auto server = Server::Start(config);
  Require(server.ok(), server.status().ToString());
  server_ = *std::move(server);
  while (!server_->registry().Settled()) absl::SleepFor(absl::Milliseconds(2));
  const auto channel = NewChannel();
  synthesis_ = v1::SynthesisService::NewStub(channel);
  admin_ = v1::AdminService::NewStub(channel);
  delivery_ = v1::DeliveryService::NewStub(channel);
}

std::string TestServer::target() const { return absl::StrCat("127.0.0.1:", server_->port()); }

std::shared_ptr<grpc::Channel> TestServer::NewChannel() const {
  grpc::ChannelArguments arguments;
  // A channel of its own, not one shared through gRPC's pool of subchannels.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(target(), grpc::InsecureChannelCredentials(), arguments);
}

v1::SynthesizeRequest PlainRequest(uint64_t seed, uint32_t count) {
  v1::SynthesizeRequest request;
  request.mutable_model()->set_name("tiny");
  request.set_seed(seed);
  request.set_count(count);
  request.set_format(v1::VOLUME_FORMAT_INT16);
  return request;
}

Received Synthesize(v1::SynthesisService::Stub& stub, const v1::SynthesizeRequest& request,
                    grpc::ClientContext* context) {
  grpc::ClientContext own;
  const auto reader = stub.Synthesize(context == nullptr ? &own : context, request);
  Received received;
  v1::SynthesizeResponse response;
  bool open = false;
  while (reader->Read(&response)) {
    std::string fault = Take(response, received, open);
    if (received.fault.empty()) received.fault = fault;
  }
  received.status = reader->Finish();
  if (received.status.ok() && open) received.fault = "no trailer";
  return received;
}

std::string ReasonOfGrpc(const grpc::Status& status) {
  const auto info = FindDetail<google::rpc::ErrorInfo>(status);
  return info.has_value() && info->domain() == "synthvol" ? info->reason() : "";
}

std::string FieldOfGrpc(const grpc::Status& status) {
  const auto bad = FindDetail<google::rpc::BadRequest>(status);
  return bad.has_value() ? bad->field_violations(0).field() : "";
}

double RetryDelayOfGrpc(const grpc::Status& status) {
  const auto retry = FindDetail<google::rpc::RetryInfo>(status);
  if (!retry.has_value()) return -1.0;
  return static_cast<double>(retry->retry_delay().seconds()) + retry->retry_delay().nanos() * 1e-9;
}

}  // namespace synthvol::server
