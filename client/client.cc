#include "client/client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/sync_stream.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/call_runner.h"
#include "client/endpoint_pool.h"
#include "client/rpc_status.h"
#include "client/stream_assembler.h"
#include "google/protobuf/wrappers.pb.h"
#include "synthvol/v1/admin.grpc.pb.h"
#include "synthvol/v1/delivery.grpc.pb.h"
#include "synthvol/v1/synthesis.grpc.pb.h"

namespace synthvol::client {
namespace {

uint64_t NoProgress() { return 0; }
void Silently(const absl::Status& /*why*/, const std::string& /*next*/, absl::Duration /*pause*/) {}

// Reads one stream into the assembler.
AttemptResult ReadStream(const Endpoint& endpoint, grpc::ClientContext& context,
                         StreamAssembler& assembler) {
  const auto stub = v1::SynthesisService::NewStub(endpoint.channel);
  const auto reader = stub->Synthesize(&context, assembler.NextRequest());
  v1::SynthesizeResponse message;
  while (reader->Read(&message)) {
    StreamAssembler::Step step = assembler.Consume(message);
    if (step.verdict == StreamAssembler::Verdict::kContinue) continue;
    context.TryCancel();
    reader->Finish();
    const bool stop = step.verdict == StreamAssembler::Verdict::kStop;
    return {step.status, stop, !stop && step.status.ok()};
  }
  const grpc::Status status = reader->Finish();
  // Once the last trailer is here, how the stream ends changes nothing; there is no volume left to
  // resume at either.
  if (assembler.complete()) return {};
  if (!status.ok()) return {FromGrpcStatus(status), false, false};
  return {absl::UnavailableError("the stream ended without the last volume's trailer"), false,
          false};
}

}  // namespace

VolumeIdentity IdentityOf(const v1::VolumeHeader& header) {
  return {header.model_digest(), header.build(), header.device_class(), header.plausibility(),
          header.drawn_seed()};
}

class Client::Impl {
 public:
  Impl(const RetryPolicy& policy, std::unique_ptr<EndpointPool> pool)
      : policy_(policy), pool_(std::move(pool)) {}

  absl::Status Run(const CallOptions& call, const CallRunner::Attempt& attempt,
                   const std::function<uint64_t()>& progress = NoProgress,
                   const CallRunner::OnRetry& on_retry = Silently) {
    return CallRunner(*pool_, policy_, call).Run(attempt, progress, on_retry);
  }

  // Runs a call of one message each way.
  template <typename Service, typename Request, typename Response>
  absl::StatusOr<Response> Unary(const CallOptions& call, const Request& request,
                                 grpc::Status (Service::StubInterface::*method)(
                                     grpc::ClientContext*, const Request&, Response*)) {
    Response response;
    const absl::Status status =
        Run(call, [&](const Endpoint& endpoint, grpc::ClientContext& context) -> AttemptResult {
          const auto stub = Service::NewStub(endpoint.channel);
          return {FromGrpcStatus((stub.get()->*method)(&context, request, &response)), false,
                  false};
        });
    if (!status.ok()) return status;
    return response;
  }

 private:
  const RetryPolicy policy_;
  const std::unique_ptr<EndpointPool> pool_;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const ClientOptions& options) {
  absl::StatusOr<std::unique_ptr<EndpointPool>> pool = EndpointPool::Create(options);
  if (!pool.ok()) return pool.status();
  return std::unique_ptr<Client>(
      new Client(std::make_unique<Impl>(options.retry, *std::move(pool))));
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels(const CallOptions& call) {
  auto response = impl_->Unary<v1::SynthesisService>(
      call, v1::ListModelsRequest(), &v1::SynthesisService::StubInterface::ListModels);
  if (!response.ok()) return response.status();
  return std::vector<v1::Model>(response->models().begin(), response->models().end());
}

absl::StatusOr<v1::Model> Client::GetModel(const v1::ModelSelector& selector,
                                           const CallOptions& call) {
  v1::GetModelRequest request;
  *request.mutable_model() = selector;
  auto response = impl_->Unary<v1::SynthesisService>(
      call, request, &v1::SynthesisService::StubInterface::GetModel);
  if (!response.ok()) return response.status();
  return response->model();
}

absl::Status Client::Synthesize(const v1::SynthesizeRequest& request, VolumeSink& sink,
                                const CallOptions& call) {
  if (request.start_volume() > request.count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("start_volume: ", request.start_volume(), " is past count ", request.count()));
  }
  StreamAssembler assembler(request, sink, call.resume_from);
  return impl_->Run(
      call,
      [&](const Endpoint& endpoint, grpc::ClientContext& context) {
        return ReadStream(endpoint, context, assembler);
      },
      [&] { return assembler.high_water(); },
      [&](const absl::Status& why, const std::string& next, absl::Duration pause) {
        sink.Retrying(why, next, pause);
      });
}

absl::StatusOr<std::vector<ReceivedVolume>> Client::SynthesizeToMemory(
    const v1::SynthesizeRequest& request, const CallOptions& call) {
  MemorySink sink;
  if (absl::Status status = Synthesize(request, sink, call); !status.ok()) return status;
  return std::move(sink.volumes());
}

absl::StatusOr<std::vector<v1::Destination>> Client::ListDestinations(const CallOptions& call) {
  auto response = impl_->Unary<v1::DeliveryService>(
      call, v1::ListDestinationsRequest(), &v1::DeliveryService::StubInterface::ListDestinations);
  if (!response.ok()) return response.status();
  return std::vector<v1::Destination>(response->destinations().begin(),
                                      response->destinations().end());
}

absl::Status Client::Deliver(const v1::DeliverRequest& request,
                             const std::function<void(const v1::DeliverResponse&)>& progress,
                             const CallOptions& call) {
  v1::DeliverRequest next = request;
  bool done = false;
  const auto attempt = [&](const Endpoint& endpoint,
                           grpc::ClientContext& context) -> AttemptResult {
    const auto stub = v1::DeliveryService::NewStub(endpoint.channel);
    const auto reader = stub->Deliver(&context, next);
    v1::DeliverResponse message;
    while (reader->Read(&message)) {
      progress(message);
      done = message.done();
      if (!message.series_instance_uid().empty()) next.set_start_volume(message.volume_index() + 1);
    }
    const grpc::Status status = reader->Finish();
    // Once everything is stored, how the stream ends changes nothing.
    if (done) return {};
    if (!status.ok()) return {FromGrpcStatus(status), false, false};
    return {absl::UnavailableError("the stream ended before the delivery did"), false, false};
  };
  return impl_->Run(call, attempt, [&] { return uint64_t{next.start_volume()}; });
}

absl::StatusOr<v1::GetStatusResponse> Client::GetStatus(const CallOptions& call) {
  return impl_->Unary<v1::AdminService>(call, v1::GetStatusRequest(),
                                        &v1::AdminService::StubInterface::GetStatus);
}

absl::StatusOr<ServingStatus> Client::CheckHealth(const std::string& service,
                                                  const CallOptions& call) {
  // grpc.health.v1's messages hold one field each, a string and an enum, both number 1: on the wire
  // they are the well-known wrappers, so no copy of its .proto file is needed.
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::UInt32Value response;
  using HealthStub =
      grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::UInt32Value>;
  const absl::Status status = impl_->Run(
      call, [&](const Endpoint& endpoint, grpc::ClientContext& context) -> AttemptResult {
        HealthStub stub(endpoint.channel);
        grpc::CompletionQueue queue;
        const auto reader =
            stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
        reader->StartCall();
        grpc::Status result;
        reader->Finish(&response, &result, nullptr);
        void* tag = nullptr;
        bool fine = false;
        queue.Next(&tag, &fine);
        return {FromGrpcStatus(result), false, false};
      });
  if (!status.ok()) return status;
  switch (response.value()) {
    case 1:
      return ServingStatus::kServing;
    case 2:
      return ServingStatus::kNotServing;
    default:
      return ServingStatus::kUnknown;
  }
}

}  // namespace synthvol::client
