// One volume as it is served: rendered, and where the plausibility gate is on, judged and drawn
// anew.
#ifndef SYNTHVOL_SERVER_RPC_DRAW_VOLUME_H_
#define SYNTHVOL_SERVER_RPC_DRAW_VOLUME_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "model/synthesizer.h"
#include "server/rpc/plausibility_gate.h"
#include "server/rpc/render.h"
#include "server/rpc/service_context.h"
#include "server/rpc/synthesis_plan.h"
#include "server/scheduling/task.h"

namespace synthvol::server {

// Where a volume goes: `begin` once with how it came about, then `slab` for its slices in order. A
// status other than OK ends the rendering and is returned from it.
struct VolumeOutput {
  std::function<absl::Status(const Draw&)> begin;
  model::SlabCallback slab;
};

// Renders volume `index` of `plan` from slice `first_slice` on, as `kind`. With the gate off slabs
// go out as they are finished; otherwise the volume is held until it was judged.
// FAILED_PRECONDITION with reason IMPLAUSIBLE when it may not be served and no redraw is left.
RenderResult DrawVolume(const ServiceContext& context, const SynthesisPlan& plan,
                        const std::shared_ptr<ServableModel>& model, uint32_t index,
                        int64_t first_slice, model::OutputKind kind, Turn& turn,
                        const VolumeOutput& output);

// Returns whether volumes of `model` are held back until they were judged.
bool IsHeld(const ServiceContext& context, const ServableModel& model);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_DRAW_VOLUME_H_
