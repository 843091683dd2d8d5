#include "server/rpc/delivery_service.h"

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/delivery_task.h"
#include "server/rpc/submit.h"

namespace synthvol::server {

DeliveryService::DeliveryService(const ServiceContext* context, Destinations destinations)
    : context_(context), destinations_(std::move(destinations)) {
  for (const std::string& name : destinations_.Names()) {
    senders_[name] = std::make_unique<Executor>(kSendersPerDestination);
  }
}

grpc::ServerUnaryReactor* DeliveryService::ListDestinations(
    grpc::CallbackServerContext* context, const v1::ListDestinationsRequest* /*request*/,
    v1::ListDestinationsResponse* response) {
  Call call = BeginCall(*context, "ListDestinations");
  const absl::StatusOr<Caller> caller = context_->authenticator->Check(*context, kDeliver);
  if (caller.ok()) {
    call.tenant = caller->tenant;
    *response = destinations_.List();
  }
  return FinishUnary(*context, call, caller.status(), *context_->metrics);
}

absl::Status DeliveryService::Start(const grpc::CallbackServerContext& context,
                                    const grpc::ByteBuffer& bytes,
                                    const std::shared_ptr<StreamWriter>& writer, Call& call) {
  const absl::StatusOr<Caller> caller = context_->authenticator->Check(context, kDeliver);
  if (!caller.ok()) return caller.status();
  call.tenant = caller->tenant;
  const auto request = ParseRequest<v1::DeliverRequest>(bytes);
  if (!request.ok()) return request.status();
  absl::StatusOr<Planned> planned = PlanCall(*context_, *request, &PlanDelivery, call);
  if (!planned.ok()) return planned.status();
  if (!destinations_.Has(request->destination())) {
    // The name may be anything.
    const std::string name = absl::CHexEscape(request->destination().substr(0, 64));
    return WithField(
        WithReason(absl::NotFoundError(absl::StrCat("destination: '", name,
                                                    "' is not configured; ListDestinations has "
                                                    "those that are")),
                   "DESTINATION_NOT_FOUND"),
        "destination");
  }
  const TaskId id = context_->scheduler->NewTaskId();
  Executor* const senders = senders_.at(request->destination()).get();
  auto task = std::make_shared<DeliveryTask>(context_, &destinations_, senders, id, call,
                                             std::move(planned->plan), request->destination(),
                                             planned->model, writer);
  return SubmitStream(*context_, id, DeadlineOf(context), task, writer);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* DeliveryService::Deliver(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return ServeStream(*context_, context, "Deliver",
                     [&](const std::shared_ptr<StreamWriter>& writer, Call& call) {
                       return Start(*context, *request, writer, call);
                     });
}

}  // namespace synthvol::server
