#include "server/probe.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"

namespace synthvol::server {
namespace {

constexpr char kMethod[] = "/grpc.health.v1.Health/Check";
constexpr std::chrono::seconds kTimeout(5);

// HealthCheckRequest{service = 1}, by hand: the schema is two fields, and Debian ships none.
std::string EncodeRequest(const std::string& service) {
  if (service.empty()) return "";
  return absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
}

// HealthCheckResponse{status = 1}: SERVING is 1.
bool IsServing(const std::string& response) { return response == std::string("\x08\x01", 2); }

std::string ToString(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok()) return "";
  return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

}  // namespace

absl::Status Probe(const std::string& target, const std::string& service,
                   const std::string& ca_file) {
  if (service.size() > 127) {
    return absl::InvalidArgumentError("--probe-service: expected at most 127 characters");
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!ca_file.empty()) {
    const absl::StatusOr<std::string> pem = ReadFile(ca_file, 4 << 20);
    if (!pem.ok()) return pem.status();
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = *pem;
    credentials = grpc::SslCredentials(options);
  }
  grpc::GenericStub stub(grpc::CreateChannel(target, credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  grpc::CompletionQueue queue;
  const grpc::Slice slice(EncodeRequest(service));
  const auto call = stub.PrepareUnaryCall(&context, kMethod, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, /*tag=*/nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) {
    return absl::UnavailableError(
        absl::StrCat(target, ": no health answer: ", status.error_message()));
  }
  if (IsServing(ToString(response))) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(target, ": not serving"));
}

}  // namespace synthvol::server
