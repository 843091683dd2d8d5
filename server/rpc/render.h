// One volume on one worker: what SynthesisTask and DeliveryTask have in common.
#ifndef SYNTHVOL_SERVER_RPC_RENDER_H_
#define SYNTHVOL_SERVER_RPC_RENDER_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/rpc/call.h"
#include "server/rpc/service_context.h"
#include "server/scheduling/task.h"

namespace synthvol::server {

// How the rendering of a volume ended.
struct RenderResult {
  absl::Status status;
  // The device failed: its worker is to be rebuilt.
  bool device_fault = false;
};

// Renders a latent as `plan` wants it from slice `first_slice` on, on the device of the turn's
// worker, handing slabs to `callback`; ends at the first slab after the turn was interrupted.
RenderResult RenderLatent(const ServiceContext& context, const SynthesisPlan& plan,
                          const std::shared_ptr<ServableModel>& model,
                          absl::Span<const float> latent, int64_t first_slice,
                          model::OutputKind kind, Turn& turn, const model::SlabCallback& callback);

// Returns what the scheduler needs to know of a request: one turn a volume, timed under model,
// version, format and precision. `bytes` is what the request holds while it is open.
TaskSpec MakeTaskSpec(uint64_t id, const Call& call, const SynthesisPlan& plan,
                      const ServableModel& model, uint64_t bytes, absl::Time deadline);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_RENDER_H_
