#include "server/rpc/admin_service.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/version.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/model_proto.h"

namespace synthvol::server {
namespace {

absl::Status CheckVersion(const std::string& name, int64_t version) {
  if (!IsName(name)) return BadField("name", "expected [A-Za-z0-9_.-]{1,64}");
  if (version <= 0) return BadField("version", "expected a positive number");
  return absl::OkStatus();
}

void FillScheduler(const SchedulerSnapshot& snapshot, v1::GetStatusResponse& response) {
  response.set_draining(snapshot.draining);
  response.set_queued(snapshot.waiting);
  response.set_running(snapshot.running);
  response.set_queued_bytes(snapshot.bytes);
  response.set_estimated_wait_seconds(absl::ToDoubleSeconds(snapshot.expected_wait));
  for (const auto& worker : snapshot.workers) {
    v1::WorkerStatus& status = *response.add_workers();
    status.set_device(worker.device);
    status.set_state(ToString(worker.state));
    status.set_request_id(worker.task);
    status.set_running_seconds(absl::ToDoubleSeconds(worker.running));
  }
  for (const auto& [name, tenant] : snapshot.tenants) {
    v1::TenantStatus& status = *response.add_tenants();
    status.set_tenant(name);
    status.set_queued(tenant.waiting);
    status.set_running(tenant.running);
    status.set_completed(tenant.completed);
    status.set_refused(tenant.refused);
  }
}

}  // namespace

AdminService::AdminService(const ServiceContext* context, std::function<void()> drain)
    : context_(context), drain_(std::move(drain)), started_(absl::Now()) {}

grpc::ServerUnaryReactor* AdminService::Run(grpc::CallbackServerContext* context,
                                            const std::string& method, const std::string& model,
                                            int64_t version, std::function<absl::Status()> work) {
  Call call = BeginCall(*context, method);
  call.request_id = NewRequestId();
  // It goes to the log before anybody has checked it.
  if (IsName(model)) call.model = model;
  call.version = version;
  const absl::StatusOr<Caller> caller = context_->authenticator->Check(*context, kAdmin);
  if (!caller.ok()) return FinishUnary(*context, call, caller.status(), *context_->metrics);
  call.tenant = caller->tenant;
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  executor_.Add([this, reactor, call, work = std::move(work)] {
    const absl::Status status = work();
    EndCall(call, status, *context_->metrics);
    reactor->Finish(ToGrpcStatus(status));
  });
  return reactor;
}

absl::Status AdminService::FillModel(const std::string& name, int64_t version,
                                     v1::Model& model) const {
  const absl::StatusOr<VersionInfo> info = context_->registry->Describe({name, version, ""});
  if (!info.ok()) return info.status();
  model = ToProto(*info);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AdminService::LoadModel(grpc::CallbackServerContext* context,
                                                  const v1::LoadModelRequest* request,
                                                  v1::LoadModelResponse* response) {
  return Run(context, "LoadModel", request->name(), request->version(), [=, this] {
    absl::Status status = CheckVersion(request->name(), request->version());
    if (status.ok()) status = context_->registry->Load(request->name(), request->version());
    if (!status.ok()) return status;
    return FillModel(request->name(), request->version(), *response->mutable_model());
  });
}

grpc::ServerUnaryReactor* AdminService::UnloadModel(grpc::CallbackServerContext* context,
                                                    const v1::UnloadModelRequest* request,
                                                    v1::UnloadModelResponse* /*response*/) {
  return Run(context, "UnloadModel", request->name(), request->version(), [=, this] {
    const absl::Status status = CheckVersion(request->name(), request->version());
    if (!status.ok()) return status;
    return context_->registry->Unload(request->name(), request->version());
  });
}

grpc::ServerUnaryReactor* AdminService::SetModelLabel(grpc::CallbackServerContext* context,
                                                      const v1::SetModelLabelRequest* request,
                                                      v1::SetModelLabelResponse* response) {
  return Run(context, "SetModelLabel", request->name(), request->version(), [=, this] {
    if (!IsName(request->name())) return BadField("name", "expected [A-Za-z0-9_.-]{1,64}");
    if (!IsName(request->label())) return BadField("label", "expected [A-Za-z0-9_.-]{1,64}");
    if (request->version() < 0) return BadField("version", "expected 0 or a positive number");
    const absl::Status status =
        context_->registry->SetLabel(request->name(), request->label(), request->version());
    if (!status.ok() || request->version() == 0) return status;
    return FillModel(request->name(), request->version(), *response->mutable_model());
  });
}

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* context,
                                              const v1::DrainRequest* /*request*/,
                                              v1::DrainResponse* /*response*/) {
  return Run(context, "Drain", "", 0, [this] {
    drain_();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::GetStatus(grpc::CallbackServerContext* context,
                                                  const v1::GetStatusRequest* /*request*/,
                                                  v1::GetStatusResponse* response) {
  // Not on the executor: it must answer while a model loads.
  Call call = BeginCall(*context, "GetStatus");
  const absl::StatusOr<Caller> caller = context_->authenticator->Check(*context, kAdmin);
  if (caller.ok()) {
    call.tenant = caller->tenant;
    FillStatus(*response);
  }
  return FinishUnary(*context, call, caller.status(), *context_->metrics);
}

void AdminService::FillStatus(v1::GetStatusResponse& response) const {
  response.set_build(Build());
  response.set_uptime_seconds(absl::ToDoubleSeconds(absl::Now() - started_));
  response.set_queue_limit(context_->queue_limit);
  response.set_queue_bytes_limit(context_->queue_bytes_limit);
  FillScheduler(context_->scheduler->Snapshot(), response);
  for (int i = 0; i < response.workers_size(); ++i) {
    v1::WorkerStatus& worker = *response.mutable_workers(i);
    const int device = context_->device_of_worker[i];
    worker.set_device_bytes_in_use(context_->registry->ResidentBytes(device));
    worker.set_device_bytes_budget(context_->registry->device_byte_budget());
  }
  for (const VersionInfo& info : context_->registry->List()) *response.add_models() = ToProto(info);
  for (const auto& [code, count] : context_->metrics->EndedByCode()) {
    (*response.mutable_finished_by_code())[code] = count;
  }
}

}  // namespace synthvol::server
