// A request that has been checked against a model and the server's limits: everything a worker
// needs, nothing left to refuse. Shared by SynthesisService and DeliveryService.
//
// Plain values; the functions are pure.
#ifndef SYNTHVOL_SERVER_RPC_SYNTHESIS_PLAN_H_
#define SYNTHVOL_SERVER_RPC_SYNTHESIS_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "imaging/dicom/series_description.h"
#include "model/synthesizer.h"
#include "server/registry/model_registry.h"
#include "server/rpc/plausibility_gate.h"
#include "server/rpc/request_fields.h"
#include "server/scheduling/fair_queue.h"
#include "synthvol/v1/delivery.pb.h"
#include "synthvol/v1/synthesis.pb.h"

namespace synthvol::server {

struct RequestLimits {
  uint32_t max_volumes = 1000;
  uint32_t default_chunk_bytes = 1 << 20;
};

struct SynthesisPlan {
  std::string request_id;
  v1::VolumeFormat format = v1::VOLUME_FORMAT_INT16;
  model::Precision precision = model::Precision::kFp32;
  Priority priority = Priority::kNormal;
  uint32_t count = 1;
  uint32_t start_volume = 0;
  uint32_t start_slice = 0;
  uint32_t chunk_bytes = 1 << 20;
  // Whether the trailer has a SHA-256 beside the CRC32C.
  bool sha256 = true;
  // -1 for unconditional models.
  int64_t class_label = -1;
  // Seed of volume 0; unset for an explicit latent or a mix, which is in `latent`.
  std::optional<uint64_t> seed;
  std::vector<float> latent;
  // Names the latent of volume 0 towards people and UIDs: "42", "mix of 1 and 2 at 0.25", ...
  std::string latent_name;
  // What a caller chose about DICOM; complete but for what belongs to one volume.
  imaging::dicom::SeriesDescription dicom;
};

// Checks what needs no model: ids, enums, ranges. The first fault is returned, with its field path.
absl::StatusOr<ModelChoice> CheckModelSelector(const v1::ModelSelector& selector);

// Checks a whole request against `model`.
absl::StatusOr<SynthesisPlan> PlanSynthesis(const v1::SynthesizeRequest& request,
                                            const ServableModel& model,
                                            const RequestLimits& limits);

// Likewise for a delivery, which is a synthesis as DICOM; the destination is not looked at.
absl::StatusOr<SynthesisPlan> PlanDelivery(const v1::DeliverRequest& request,
                                           const ServableModel& model, const RequestLimits& limits);

// Returns the latent of volume `index` of the plan.
absl::StatusOr<std::vector<float>> LatentOf(const SynthesisPlan& plan, uint32_t index,
                                            int64_t latent_dim);

// Returns what describes volume `index`, drawn as `draw` says, as a DICOM series.
imaging::dicom::SeriesDescription DescribeSeries(const SynthesisPlan& plan, uint32_t index,
                                                 const Draw& draw = {});

// Returns what the format needs of the generator.
model::OutputKind OutputKindOf(const SynthesisPlan& plan);
// Returns the slice that rendering has to begin with when slices from `start_slice` on are sent: an
// enhanced file needs all before them as well.
int64_t FirstSliceNeeded(const SynthesisPlan& plan, uint32_t start_slice);

// Returns bytes of one volume as it is sent.
uint64_t EstimateVolumeBytes(const SynthesisPlan& plan, int64_t size);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SYNTHESIS_PLAN_H_
