// The plausibility gate at work (model/eval/gate has the measuring): a volume is held back until
// all of it was measured against the ranges of its model's training data, then marked, or drawn
// anew.
//
// Plain values and pure functions, but for HeldVolume, which one worker fills.
#ifndef SYNTHVOL_SERVER_RPC_PLAUSIBILITY_GATE_H_
#define SYNTHVOL_SERVER_RPC_PLAUSIBILITY_GATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/eval/gate/plausibility.h"
#include "model/synthesizer.h"

namespace synthvol::server {

// What is done about implausible volumes; PlausibilityConfig in server_config.proto.
struct GatePolicy {
  enum class Mode { kOff, kTag, kRedraw };
  Mode mode = Mode::kOff;
  // Draws that may follow the first.
  uint32_t max_redraws = 4;
};

// How a volume came about.
struct Draw {
  // Draws before this one, all implausible.
  uint32_t redraws = 0;
  // The seed that gave the voxels; only with redraws.
  uint64_t seed = 0;
  bool implausible = false;
  // VolumeHeader.plausibility.
  std::string plausibility;
};

// Returns the seed of redraw `redraw` (from 1) of `seed`: the first four bytes, as a big-endian
// number, of SHA-256 over "redraw REDRAW of SEED" in decimal. A function of both, so that a
// repeated or resumed request walks the same way.
uint64_t RedrawSeed(uint64_t seed, uint32_t redraw);

// A whole volume of one draw, in memory.
class HeldVolume {
 public:
  // `ranges` outlives the object. Takes slabs of `kind`.
  HeldVolume(const model::ModelConfig& config, model::OutputKind kind,
             const model::PlausibilityRanges* ranges);

  // Keeps and measures a slab; slabs come in order from slice 0.
  absl::Status Add(const model::Slab& slab);
  // Returns what is out of range, as text for people; empty when the volume is plausible.
  std::string Violations() const;
  // Hands the slices from `first_slice` on to `callback`, a few at a time.
  absl::Status Replay(int64_t first_slice, const model::SlabCallback& callback) const;

 private:
  const int64_t size_;
  const imaging::Window window_;
  const model::OutputKind kind_;
  const model::PlausibilityRanges* const ranges_;
  model::PlausibilityMeter meter_;
  // The one of `kind_` is used: [size, size, size].
  std::vector<int16_t> stored_;
  std::vector<float> unit_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_PLAUSIBILITY_GATE_H_
