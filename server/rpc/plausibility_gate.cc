#include "server/rpc/plausibility_gate.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checksum.h"

namespace synthvol::server {
namespace {

// Bytes of a replayed slab: a chunk's worth, so that a cancelled stream ends soon.
constexpr int64_t kReplayBytes = 1 << 20;

}  // namespace

uint64_t RedrawSeed(uint64_t seed, uint32_t redraw) {
  Sha256 sha256;
  sha256.Update(absl::StrCat("redraw ", redraw, " of ", seed));
  const std::string digest = sha256.Finish();
  uint64_t drawn = 0;
  for (int i = 0; i < 4; ++i) drawn = drawn << 8 | static_cast<uint8_t>(digest[i]);
  return drawn;
}

HeldVolume::HeldVolume(const model::ModelConfig& config, model::OutputKind kind,
                       const model::PlausibilityRanges* ranges)
    : size_(config.size),
      window_(config.window),
      kind_(kind),
      ranges_(ranges),
      meter_(ranges->MakeMeter(config.size)) {
  const size_t voxels = static_cast<size_t>(size_) * size_ * size_;
  if (kind == model::OutputKind::kStored) {
    stored_.reserve(voxels);
  } else {
    unit_.reserve(voxels);
  }
}

absl::Status HeldVolume::Add(const model::Slab& slab) {
  if (kind_ == model::OutputKind::kStored) {
    meter_.Append(slab.stored);
    stored_.insert(stored_.end(), slab.stored.begin(), slab.stored.end());
    return absl::OkStatus();
  }
  std::vector<int16_t> stored(slab.unit.size());
  std::transform(slab.unit.begin(), slab.unit.end(), stored.begin(),
                 [this](float unit) { return window_.ToStored(unit); });
  meter_.Append(stored);
  unit_.insert(unit_.end(), slab.unit.begin(), slab.unit.end());
  return absl::OkStatus();
}

std::string HeldVolume::Violations() const {
  const std::vector<model::PlausibilityViolation> violations = ranges_->Check(meter_.Finish());
  return absl::StrJoin(violations, "; ",
                       [](std::string* out, const model::PlausibilityViolation& violation) {
                         out->append(violation.ToString());
                       });
}

absl::Status HeldVolume::Replay(int64_t first_slice, const model::SlabCallback& callback) const {
  const int64_t slice_voxels = size_ * size_;
  const int64_t voxel_bytes = kind_ == model::OutputKind::kStored ? 2 : 4;
  const int64_t step = std::max<int64_t>(1, kReplayBytes / (slice_voxels * voxel_bytes));
  for (int64_t slice = first_slice; slice < size_; slice += step) {
    model::Slab slab;
    slab.first_slice = slice;
    slab.slice_count = std::min(step, size_ - slice);
    const size_t begin = slice * slice_voxels;
    const size_t count = slab.slice_count * slice_voxels;
    if (kind_ == model::OutputKind::kStored) {
      slab.stored = absl::MakeConstSpan(stored_).subspan(begin, count);
    } else {
      slab.unit = absl::MakeConstSpan(unit_).subspan(begin, count);
    }
    if (absl::Status status = callback(slab); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace synthvol::server
