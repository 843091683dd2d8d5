// The part of starting a streaming call that both services share.
#ifndef SYNTHVOL_SERVER_RPC_SUBMIT_H_
#define SYNTHVOL_SERVER_RPC_SUBMIT_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/call.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/service_context.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {

// Parses a raw request; INVALID_ARGUMENT when it is not a Request, CANCELLED when there is none.
template <typename Request>
absl::StatusOr<Request> ParseRequest(const grpc::ByteBuffer& bytes) {
  // A caller that left before its message came whole leaves nothing to parse.
  if (!bytes.Valid()) return absl::CancelledError("the caller left before its request arrived");
  Request request;
  grpc::ByteBuffer copy = bytes;
  if (grpc::SerializationTraits<Request>::Deserialize(&copy, &request).ok()) return request;
  return WithReason(absl::InvalidArgumentError(
                        absl::StrCat("the message is not a ", Request::descriptor()->name())),
                    "BAD_MESSAGE");
}

// A request that is checked, with the model that it chose.
struct Planned {
  SynthesisPlan plan;
  std::shared_ptr<ServableModel> model;
};

// Chooses the model and plans with `plan_request` (PlanSynthesis or PlanDelivery); fills `call`.
template <typename Request, typename PlanRequest>
absl::StatusOr<Planned> PlanCall(const ServiceContext& context, const Request& request,
                                 PlanRequest plan_request, Call& call) {
  const absl::StatusOr<ModelChoice> choice = CheckModelSelector(request.model());
  if (!choice.ok()) return choice.status();
  const absl::StatusOr<std::shared_ptr<ServableModel>> model = context.registry->Select(*choice);
  if (!model.ok()) return model.status();
  call.model = (*model)->name;
  call.version = (*model)->version;
  absl::StatusOr<SynthesisPlan> plan = plan_request(request, **model, context.limits);
  if (!plan.ok()) return plan.status();
  if (plan->request_id.empty()) plan->request_id = NewRequestId();
  call.request_id = plan->request_id;
  call.count = plan->count;
  return Planned{*std::move(plan), *model};
}

// Submits a task; afterwards a caller that leaves ends it.
template <typename StreamTask>
absl::Status SubmitStream(const ServiceContext& context, TaskId id, absl::Time deadline,
                          const std::shared_ptr<StreamTask>& task,
                          const std::shared_ptr<StreamWriter>& writer) {
  const absl::StatusOr<Admission> admission = context.scheduler->Submit(task->Spec(deadline), task);
  if (!admission.ok()) return admission.status();
  // Set after admission: a caller that left earlier is reported at once.
  writer->SetOnGone(
      [scheduler = context.scheduler, id](const absl::Status& why) { scheduler->End(id, why); });
  return absl::OkStatus();
}

// Answers a streaming call: `start` submits its task, which ends the call; a refusal ends it here.
template <typename Start>
StreamWriter* ServeStream(const ServiceContext& context, grpc::CallbackServerContext* grpc_context,
                          const char* method, Start start) {
  Call call = BeginCall(*grpc_context, method);
  const std::shared_ptr<StreamWriter> writer = StreamWriter::Create(grpc_context);
  context.monitor->Watch(writer);
  const absl::Status started = start(writer, call);
  if (!started.ok()) {
    EndCall(call, started, *context.metrics);
    writer->Close(started);
  }
  return writer.get();
}

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SUBMIT_H_
