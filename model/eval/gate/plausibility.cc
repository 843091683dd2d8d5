#include "model/eval/gate/plausibility.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "imaging/dataset.h"

namespace synthvol::model {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kBlankSpread = 0.01;
constexpr double kEndTolerance = 0.005;
constexpr double kTopShare = 0.5;
constexpr double kBottomShare = 0.99;

// Returns the margin that even an observed range of width 0 gets (a small training set).
double LeastMargin(const std::string& figure, const imaging::Window& window) {
  const double width = window.high - window.low;
  if (figure == "roughness") return 0.01 * width;
  if (figure == "mean" || figure == "standard_deviation") return 0.05 * width;
  return 0.05;
}

bool IsShare(const std::string& figure) {
  return absl::StartsWith(figure, "fraction.") || absl::EndsWith(figure, "_slices");
}

PlausibilityRanges::Range Widen(const std::string& figure, double low, double high,
                                const imaging::Window& window) {
  const double margin = std::max(0.5 * (high - low), LeastMargin(figure, window));
  PlausibilityRanges::Range range{low, high, low - margin, high + margin};
  if (IsShare(figure)) {
    range.low = std::max(range.low, 0.0);
    range.high = std::min(range.high, 1.0);
  }
  return range;
}

}  // namespace

std::vector<IntensityRegion> DefaultRegions(const std::string& modality,
                                            const imaging::Window& window) {
  if (modality == "CT") {
    return {{"air", -kInfinity, -950},
            {"lung", -950, -500},
            {"soft_tissue", -500, 200},
            {"bone", 200, kInfinity}};
  }
  std::vector<IntensityRegion> regions;
  regions.reserve(4);
  const double quarter = (window.high - window.low) / 4;
  for (int i = 0; i < 4; ++i) {
    regions.push_back({absl::StrCat("quarter_", i + 1),
                       i == 0 ? -kInfinity : window.low + i * quarter,
                       i == 3 ? kInfinity : window.low + (i + 1) * quarter});
  }
  return regions;
}

PlausibilityMeter::PlausibilityMeter(int64_t size, const imaging::Window& window,
                                     std::vector<IntensityRegion> regions)
    : size_(size), window_(window), regions_(std::move(regions)), region_counts_(regions_.size()) {}

void PlausibilityMeter::Append(absl::Span<const int16_t> voxels) {
  for (const int16_t voxel : voxels) {
    if (slices_ == size_) return;
    AppendVoxel(voxel);
    if (in_slice_ == size_ * size_) EndSlice();
  }
}

void PlausibilityMeter::AppendVoxel(double value) {
  for (size_t i = 0; i < regions_.size(); ++i) {
    if (value >= regions_[i].low && value < regions_[i].high) {
      ++region_counts_[i];
      break;
    }
  }
  const double tolerance = kEndTolerance * (window_.high - window_.low);
  slice_top_ += value >= window_.high - tolerance ? 1 : 0;
  slice_bottom_ += value <= window_.low + tolerance ? 1 : 0;
  // Sums of offsets from the window's floor: no cancellation worth speaking of.
  const double offset = value - window_.low;
  slice_sum_ += offset;
  slice_squares_ += offset * offset;
  if (column_ > 0) steps_ += std::abs(value - previous_);
  previous_ = value;
  column_ = (column_ + 1) % size_;
  ++in_slice_;
}

void PlausibilityMeter::EndSlice() {
  const auto count = static_cast<double>(in_slice_);
  const double mean = slice_sum_ / count;
  const double variance = std::max(0.0, slice_squares_ / count - mean * mean);
  if (std::sqrt(variance) < kBlankSpread * (window_.high - window_.low)) ++blank_slices_;
  if (static_cast<double>(slice_top_) >= kTopShare * count ||
      static_cast<double>(slice_bottom_) >= kBottomShare * count) {
    ++saturated_slices_;
  }
  sum_ += slice_sum_;
  squares_ += slice_squares_;
  voxels_ += in_slice_;
  ++slices_;
  in_slice_ = slice_top_ = slice_bottom_ = 0;
  slice_sum_ = slice_squares_ = 0;
}

VolumeFigures PlausibilityMeter::Finish() const {
  // Without a whole slice every figure is 0/0, NaN, which no range accepts.
  const auto count = static_cast<double>(voxels_);
  const auto slices = static_cast<double>(slices_);
  VolumeFigures figures;
  for (size_t i = 0; i < regions_.size(); ++i) {
    figures["fraction." + regions_[i].name] = static_cast<double>(region_counts_[i]) / count;
  }
  const double mean = sum_ / count;
  figures["mean"] = mean + window_.low;
  figures["standard_deviation"] = std::sqrt(std::max(0.0, squares_ / count - mean * mean));
  figures["roughness"] = steps_ / (count * static_cast<double>(size_ - 1) / size_);
  figures["blank_slices"] = static_cast<double>(blank_slices_) / slices;
  figures["saturated_slices"] = static_cast<double>(saturated_slices_) / slices;
  return figures;
}

std::string PlausibilityViolation::ToString() const {
  return absl::StrCat(figure, " is ", value, ", expected ", low, " to ", high);
}

absl::StatusOr<PlausibilityRanges> PlausibilityRanges::Of(const std::vector<VolumeFigures>& volumes,
                                                          const imaging::Window& window,
                                                          std::vector<IntensityRegion> regions) {
  if (volumes.empty()) {
    return absl::InvalidArgumentError(
        "plausibility ranges need at least one training volume, found none");
  }
  PlausibilityRanges ranges;
  ranges.window_ = window;
  ranges.regions_ = std::move(regions);
  ranges.volumes_ = static_cast<int64_t>(volumes.size());
  for (const auto& [figure, first] : volumes.front()) {
    double low = first;
    double high = first;
    for (const VolumeFigures& volume : volumes) {
      low = std::min(low, volume.at(figure));
      high = std::max(high, volume.at(figure));
    }
    ranges.ranges_[figure] = Widen(figure, low, high, window);
  }
  return ranges;
}

PlausibilityMeter PlausibilityRanges::MakeMeter(int64_t size) const {
  return PlausibilityMeter(size, window_, regions_);
}

std::vector<PlausibilityViolation> PlausibilityRanges::Check(const VolumeFigures& figures) const {
  std::vector<PlausibilityViolation> violations;
  for (const auto& [figure, range] : ranges_) {
    const auto found = figures.find(figure);
    const double value =
        found == figures.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
    // Written so that NaN violates.
    if (!(value >= range.low && value <= range.high)) {
      violations.push_back({figure, value, range.low, range.high});
    }
  }
  return violations;
}

absl::StatusOr<PlausibilityRanges> RangesOfDataset(const std::string& dataset_dir) {
  const auto manifest = imaging::ReadManifest(dataset_dir);
  if (!manifest.ok()) return manifest.status();
  const auto regions = DefaultRegions(manifest->modality, manifest->window);
  std::vector<VolumeFigures> figures;
  std::vector<int16_t> stored;
  for (const imaging::DatasetItem& item : manifest->items) {
    if (item.split != imaging::Split::kTrain) continue;
    const auto volume =
        imaging::MappedVolume::Open(absl::StrCat(dataset_dir, "/", item.file), manifest->size);
    if (!volume.ok()) return volume.status();
    stored.clear();
    for (const int16_t voxel : volume->voxels()) {
      stored.push_back(manifest->window.ToStored(voxel / imaging::kUnitScale));
    }
    PlausibilityMeter meter(manifest->size, manifest->window, regions);
    meter.Append(stored);
    figures.push_back(meter.Finish());
  }
  if (figures.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        imaging::ManifestPath(dataset_dir), ": holds no training volumes to take ranges from"));
  }
  return PlausibilityRanges::Of(figures, manifest->window, regions);
}

}  // namespace synthvol::model
