#include "server/rpc/draw_volume.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/logging/log.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

absl::Status Refusal(const SynthesisPlan& plan, uint32_t index, const std::string& violations,
                     uint32_t redraws) {
  const std::string subject =
      plan.seed.has_value() ? absl::StrCat("volume ", index, " (seed ", *plan.seed + index, ")")
                            : absl::StrCat("volume ", index, " (", plan.latent_name, ")");
  const std::string tries =
      plan.seed.has_value() ? absl::StrCat(" and its ", redraws, " redraws are implausible, last: ")
                            : " is implausible and has no seed to redraw: ";
  return WithReason(absl::FailedPreconditionError(absl::StrCat(subject, tries, violations)),
                    "IMPLAUSIBLE");
}

// Hands a held volume on; asks before each slab whether the turn may go on.
absl::Status SendHeld(const HeldVolume& held, const Draw& draw, int64_t first_slice, Turn& turn,
                      const VolumeOutput& output) {
  if (absl::Status begun = output.begin(draw); !begun.ok()) return begun;
  return held.Replay(first_slice, [&](const model::Slab& slab) {
    const absl::Status may_go_on = turn.Check();
    return may_go_on.ok() ? output.slab(slab) : may_go_on;
  });
}

}  // namespace

bool IsHeld(const ServiceContext& context, const ServableModel& model) {
  return context.gate.mode != GatePolicy::Mode::kOff && model.plausibility.has_value();
}

RenderResult DrawVolume(const ServiceContext& context, const SynthesisPlan& plan,
                        const std::shared_ptr<ServableModel>& model, uint32_t index,
                        int64_t first_slice, model::OutputKind kind, Turn& turn,
                        const VolumeOutput& output) {
  absl::StatusOr<std::vector<float>> latent = LatentOf(plan, index, model->config.latent_dim);
  if (!latent.ok()) return {latent.status(), false};
  Draw draw;
  if (!IsHeld(context, *model)) {
    if (context.gate.mode != GatePolicy::Mode::kOff) {
      draw.plausibility = "unchecked: the model carries no ranges";
      context.metrics->ObserveDraw(model->name, "unchecked");
    }
    if (absl::Status begun = output.begin(draw); !begun.ok()) return {begun, false};
    return RenderLatent(context, plan, model, *latent, first_slice, kind, turn, output.slab);
  }
  while (true) {
    HeldVolume held(model->config, kind, &*model->plausibility);
    RenderResult rendered =
        RenderLatent(context, plan, model, *latent, 0, kind, turn,
                     [&held](const model::Slab& slab) { return held.Add(slab); });
    if (!rendered.status.ok()) return rendered;
    const std::string violations = held.Violations();
    draw.implausible = !violations.empty();
    draw.plausibility =
        draw.implausible ? absl::StrCat("implausible: ", violations) : std::string("plausible");
    context.metrics->ObserveDraw(model->name, draw.implausible ? "implausible" : "plausible");
    if (!draw.implausible || context.gate.mode == GatePolicy::Mode::kTag) {
      return {SendHeld(held, draw, first_slice, turn, output), false};
    }
    if (!plan.seed.has_value() || draw.redraws == context.gate.max_redraws) {
      return {Refusal(plan, index, violations, draw.redraws), false};
    }
    draw.seed = RedrawSeed(*plan.seed + index, ++draw.redraws);
    Log(LogLevel::kInfo, "redraw",
        {{"request_id", plan.request_id},
         {"model", model->name},
         {"seed", static_cast<int64_t>(*plan.seed + index)},
         {"drawn_seed", static_cast<int64_t>(draw.seed)},
         {"message", violations}});
    latent = model::LatentFromSeed(draw.seed, model->config.latent_dim);
    if (!latent.ok()) return {latent.status(), false};
  }
}

}  // namespace synthvol::server
