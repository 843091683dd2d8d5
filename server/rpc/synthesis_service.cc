#include "server/rpc/synthesis_service.h"

#include <utility>

#include "server/rpc/model_proto.h"
#include "server/rpc/submit.h"
#include "server/rpc/synthesis_task.h"

namespace synthvol::server {

grpc::ServerUnaryReactor* SynthesisService::ListModels(grpc::CallbackServerContext* context,
                                                       const v1::ListModelsRequest* /*request*/,
                                                       v1::ListModelsResponse* response) {
  Call call = BeginCall(*context, "ListModels");
  const absl::StatusOr<Caller> caller = context_->authenticator->Check(*context, kSynthesize);
  if (caller.ok()) {
    call.tenant = caller->tenant;
    for (const VersionInfo& info : context_->registry->List()) {
      *response->add_models() = ToProto(info);
    }
  }
  return FinishUnary(*context, call, caller.status(), *context_->metrics);
}

grpc::ServerUnaryReactor* SynthesisService::GetModel(grpc::CallbackServerContext* context,
                                                     const v1::GetModelRequest* request,
                                                     v1::GetModelResponse* response) {
  Call call = BeginCall(*context, "GetModel");
  const auto get = [&]() -> absl::Status {
    const absl::StatusOr<Caller> caller = context_->authenticator->Check(*context, kSynthesize);
    if (!caller.ok()) return caller.status();
    call.tenant = caller->tenant;
    const absl::StatusOr<ModelChoice> choice = CheckModelSelector(request->model());
    if (!choice.ok()) return choice.status();
    call.model = choice->name;
    const absl::StatusOr<VersionInfo> info = context_->registry->Describe(*choice);
    if (!info.ok()) return info.status();
    *response->mutable_model() = ToProto(*info);
    return absl::OkStatus();
  };
  return FinishUnary(*context, call, get(), *context_->metrics);
}

absl::Status SynthesisService::Start(const grpc::CallbackServerContext& context,
                                     const grpc::ByteBuffer& bytes,
                                     const std::shared_ptr<StreamWriter>& writer, Call& call) {
  const absl::StatusOr<Caller> caller = context_->authenticator->Check(context, kSynthesize);
  if (!caller.ok()) return caller.status();
  call.tenant = caller->tenant;
  const auto request = ParseRequest<v1::SynthesizeRequest>(bytes);
  if (!request.ok()) return request.status();
  absl::StatusOr<Planned> planned = PlanCall(*context_, *request, &PlanSynthesis, call);
  if (!planned.ok()) return planned.status();
  const TaskId id = context_->scheduler->NewTaskId();
  auto task = std::make_shared<SynthesisTask>(context_, id, call, std::move(planned->plan),
                                              planned->model, writer);
  return SubmitStream(*context_, id, DeadlineOf(context), task, writer);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* SynthesisService::Synthesize(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return ServeStream(*context_, context, "Synthesize",
                     [&](const std::shared_ptr<StreamWriter>& writer, Call& call) {
                       return Start(*context, *request, writer, call);
                     });
}

}  // namespace synthvol::server
