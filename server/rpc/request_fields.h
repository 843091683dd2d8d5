// The checks of single fields that requests for volumes share, and their translation from the wire.
//
// Pure functions; an error is INVALID_ARGUMENT with the field's path (BadField).
#ifndef SYNTHVOL_SERVER_RPC_REQUEST_FIELDS_H_
#define SYNTHVOL_SERVER_RPC_REQUEST_FIELDS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/synthesizer.h"
#include "server/scheduling/fair_queue.h"
#include "synthvol/v1/synthesis.pb.h"

namespace synthvol::server {

// Largest seed: torch's CPU generator keeps 32 bits, so a larger one would repeat a volume.
inline constexpr uint64_t kMaxSeed = 0xFFFFFFFFULL;
inline constexpr uint32_t kMinChunkBytes = 64 << 10;
inline constexpr uint32_t kMaxChunkBytes = 3 << 20;

absl::Status CheckCount(uint32_t count, uint32_t start_volume, uint32_t max_volumes);
// Checks `seed` and the `count` - 1 seeds after it.
absl::Status CheckSeed(absl::string_view field, uint64_t seed, uint32_t count);
// A label is required of models with classes, refused by others.
absl::Status CheckClassLabel(bool present, int64_t label, const model::ModelConfig& config);
absl::Status CheckFormat(v1::VolumeFormat format);
// Zero leaves the size to the server.
absl::Status CheckChunkBytes(uint32_t bytes);

absl::StatusOr<model::Precision> ParsePrecision(v1::Precision precision);
absl::StatusOr<Priority> ParsePriority(v1::Priority priority);
// Returns whether the trailer is to have a SHA-256; the field is "digest".
absl::StatusOr<bool> ParseDigest(v1::VolumeDigest digest);

// Returns "fp32", "bf16" or "tf32".
const char* ToString(model::Precision precision);
v1::Precision ToProto(model::Precision precision);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_REQUEST_FIELDS_H_
