#include "server/rpc/render.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

// Says what a failed synthesis means to the caller, and whether the device is to blame.
RenderResult Judge(absl::Status status) {
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    status = WithReason(absl::ResourceExhaustedError("the device has too little memory for this"),
                        "DEVICE_MEMORY");
    return {WithRetryAfter(WithQuotaSubject(status, "device:bytes"), absl::Seconds(1)), true};
  }
  if (status.code() == absl::StatusCode::kInternal) {
    return {WithReason(status, "DEVICE_FAULT"), true};
  }
  return {status, false};
}

std::string ServiceKey(const SynthesisPlan& plan, const ServableModel& model) {
  return absl::StrCat(model.name, "@", model.version, "/", v1::VolumeFormat_Name(plan.format), "/",
                      ToString(plan.precision));
}

}  // namespace

TaskSpec MakeTaskSpec(uint64_t id, const Call& call, const SynthesisPlan& plan,
                      const ServableModel& model, uint64_t bytes, absl::Time deadline) {
  TaskSpec spec;
  spec.id = id;
  spec.name = plan.request_id;
  spec.tenant = call.tenant;
  spec.priority = plan.priority;
  spec.turns = plan.count - plan.start_volume;
  spec.bytes = bytes;
  spec.service_key = ServiceKey(plan, model);
  spec.deadline = deadline;
  return spec;
}

RenderResult RenderLatent(const ServiceContext& context, const SynthesisPlan& plan,
                          const std::shared_ptr<ServableModel>& model,
                          absl::Span<const float> latent, int64_t first_slice,
                          model::OutputKind kind, Turn& turn, const model::SlabCallback& callback) {
  const int device = context.device_of_worker[turn.worker()];
  const auto lease = context.registry->Pin(model, device);
  if (!lease.ok()) return {lease.status(), false};
  model::Synthesizer& synthesizer = lease->synthesizer();
  model::SynthesisInput input;
  input.latent = latent;
  input.class_label = plan.class_label;
  input.precision = plan.precision;
  input.start_slice = first_slice;
  // A status of ours that comes back through Synthesize is not the device's.
  absl::Status ours;
  const auto check = [&] {
    if (ours.ok()) ours = turn.Check();
    return ours;
  };
  // Most of the time goes by before the first slab: a deadline or a cancellation must bite there
  // too.
  input.interrupted = check;
  const absl::Time begin = absl::Now();
  const absl::Status status = synthesizer.Synthesize(input, kind, [&](const model::Slab& slab) {
    if (check().ok()) ours = callback(slab);
    return ours;
  });
  if (!ours.ok()) return {ours, false};
  if (status.ok()) {
    context.metrics->ObserveVolume(model->name, absl::Now() - begin);
    return {};
  }
  return Judge(status);
}

}  // namespace synthvol::server
