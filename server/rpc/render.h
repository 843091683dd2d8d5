// One volume on one worker: what SynthesisTask and DeliveryTask have in common.
#ifndef SYNTHVOL_SERVER_RPC_RENDER_H_
#define SYNTHVOL_SERVER_RPC_RENDER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/rpc/service_context.h"
#include "server/scheduling/task.h"

namespace synthvol::server {

// How the rendering of a volume ended.
struct RenderResult {
  absl::Status status;
  // The device failed: its worker is to be rebuilt.
  bool device_fault = false;
};

// Renders volume `index` of `plan` from slice `first_slice` on, on the device of the turn's worker,
// handing slabs to `callback`; ends at the first slab after the turn was interrupted.
RenderResult RenderVolume(const ServiceContext& context, const SynthesisPlan& plan,
                          const std::shared_ptr<ServableModel>& model, uint32_t index,
                          int64_t first_slice, model::OutputKind kind, Turn& turn,
                          const model::SlabCallback& callback);

// Returns the key under which such volumes are timed: model, version, format, precision.
std::string ServiceKey(const SynthesisPlan& plan, const ServableModel& model);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_RENDER_H_
