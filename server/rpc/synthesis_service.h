// SynthesisService: handlers that check, convert and hand over; no logic of their own.
//
// Thread-safe. Borrows its context.
#ifndef SYNTHVOL_SERVER_RPC_SYNTHESIS_SERVICE_H_
#define SYNTHVOL_SERVER_RPC_SYNTHESIS_SERVICE_H_

#include <memory>

#include "server/rpc/call.h"
#include "server/rpc/service_context.h"
#include "synthvol/v1/synthesis.grpc.pb.h"

namespace synthvol::server {

// Synthesize is registered raw: its messages are serialised by hand (chunk_message.h).
using SynthesisServiceBase = v1::SynthesisService::WithRawCallbackMethod_Synthesize<
    v1::SynthesisService::WithCallbackMethod_GetModel<
        v1::SynthesisService::WithCallbackMethod_ListModels<v1::SynthesisService::Service>>>;

class SynthesisService final : public SynthesisServiceBase {
 public:
  explicit SynthesisService(const ServiceContext* context) : context_(context) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Synthesize(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request) override;

 private:
  // Checks a request and submits its task; fills `call` on the way. On success the task ends the
  // call, otherwise the caller does.
  absl::Status Start(const grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                     const std::shared_ptr<StreamWriter>& writer, Call& call);

  const ServiceContext* const context_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SYNTHESIS_SERVICE_H_
