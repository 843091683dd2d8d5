#include "server/rpc/synthesis_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/model_proto.h"
#include "server/rpc/synthesis_task.h"
#include "server/scheduling/annotated_status.h"

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
  v1::SynthesizeRequest request;
  grpc::ByteBuffer copy = bytes;
  if (!grpc::SerializationTraits<v1::SynthesizeRequest>::Deserialize(&copy, &request).ok()) {
    return WithReason(absl::InvalidArgumentError("the message is not a SynthesizeRequest"),
                      "BAD_MESSAGE");
  }
  const absl::StatusOr<ModelChoice> choice = CheckModelSelector(request.model());
  if (!choice.ok()) return choice.status();
  const absl::StatusOr<std::shared_ptr<ServableModel>> model = context_->registry->Select(*choice);
  if (!model.ok()) return model.status();
  call.model = (*model)->name;
  call.version = (*model)->version;
  absl::StatusOr<SynthesisPlan> plan = PlanSynthesis(request, **model, context_->limits);
  if (!plan.ok()) return plan.status();
  if (plan->request_id.empty()) plan->request_id = NewRequestId();
  call.request_id = plan->request_id;
  call.count = plan->count;

  Scheduler* const scheduler = context_->scheduler;
  const TaskId id = scheduler->NewTaskId();
  auto task = std::make_shared<SynthesisTask>(context_, id, call, *std::move(plan), *model, writer);
  const absl::StatusOr<Admission> admission =
      scheduler->Submit(task->Spec(DeadlineOf(context)), task);
  if (!admission.ok()) return admission.status();
  // Set after admission: a caller that left earlier is reported at once.
  writer->SetOnGone([scheduler, id](const absl::Status& why) { scheduler->End(id, why); });
  return absl::OkStatus();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* SynthesisService::Synthesize(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  Call call = BeginCall(*context, "Synthesize");
  const std::shared_ptr<StreamWriter> writer = StreamWriter::Create(context);
  context_->monitor->Watch(writer);
  const absl::Status started = Start(*context, *request, writer, call);
  if (!started.ok()) {
    EndCall(call, started, *context_->metrics);
    writer->Close(started);
  }
  return writer.get();
}

}  // namespace synthvol::server
