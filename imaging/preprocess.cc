#include "imaging/preprocess.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "imaging/dataset.h"

namespace synthvol::imaging {
namespace {

constexpr absl::string_view kPercentilePrefix = "percentile:";

// Tells whether any voxel is above the window's low end.
bool HasContent(absl::Span<const float> slice, const Window& window) {
  return std::any_of(slice.begin(), slice.end(),
                     [&](float voxel) { return static_cast<double>(voxel) > window.low; });
}

absl::Span<const float> Slice(const FloatVolume& scan, int64_t z) {
  const int64_t count = scan.geometry.size[0] * scan.geometry.size[1];
  return absl::MakeConstSpan(scan.voxels)
      .subspan(static_cast<size_t>(z * count), static_cast<size_t>(count));
}

// Shrinks slices in-plane and spreads each over the output slices that take from it, so that only
// the cube is ever held.
class CubeResizer {
 public:
  CubeResizer(int64_t columns, int64_t rows, int64_t slices, int64_t size)
      : size_(size),
        columns_(columns),
        rows_(rows),
        x_(columns, size),
        y_(rows, size),
        z_(slices, size),
        narrow_(static_cast<size_t>(rows * size)),
        small_(static_cast<size_t>(size * size)),
        cube_(static_cast<size_t>(size * size * size)) {}

  // Takes slice `z`, [rows, columns].
  void Add(int64_t z, absl::Span<const float> slice) {
    ResizeRows(slice);
    ResizeColumns();
    for (int64_t i = 0; i < size_; ++i) {
      const absl::Span<const float> weights = z_.weights(i);
      const int64_t k = z - z_.first(i);
      if (k < 0 || k >= static_cast<int64_t>(weights.size())) continue;
      AddScaled(small_.data(), weights[static_cast<size_t>(k)], size_ * size_,
                cube_.data() + i * size_ * size_);
    }
  }

  // [size, size, size]
  const std::vector<float>& cube() const { return cube_; }

 private:
  static void AddScaled(const float* from, float weight, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] += weight * from[i];
  }

  void ResizeRows(absl::Span<const float> slice) {
    for (int64_t row = 0; row < rows_; ++row) {
      const float* from = slice.data() + row * columns_;
      for (int64_t i = 0; i < size_; ++i) {
        float sum = 0.0F;
        const float* voxel = from + x_.first(i);
        for (const float weight : x_.weights(i)) sum += weight * *voxel++;
        narrow_[static_cast<size_t>(row * size_ + i)] = sum;
      }
    }
  }

  void ResizeColumns() {
    std::fill(small_.begin(), small_.end(), 0.0F);
    for (int64_t i = 0; i < size_; ++i) {
      const float* row = narrow_.data() + y_.first(i) * size_;
      for (const float weight : y_.weights(i)) {
        AddScaled(row, weight, size_, small_.data() + i * size_);
        row += size_;
      }
    }
  }

  const int64_t size_;
  const int64_t columns_;
  const int64_t rows_;
  const ResizeWeights x_;
  const ResizeWeights y_;
  const ResizeWeights z_;
  std::vector<float> narrow_;  // [rows, size]
  std::vector<float> small_;   // [size, size]
  std::vector<float> cube_;    // [size, size, size]
};

}  // namespace

absl::StatusOr<WindowRule> ParseWindowRule(const std::string& text) {
  WindowRule rule;
  absl::string_view range = text;
  if (absl::ConsumePrefix(&range, kPercentilePrefix)) rule.kind = WindowRule::Kind::kPercentile;
  const std::vector<absl::string_view> ends = absl::StrSplit(range, ',');
  const bool parsed = ends.size() == 2 && absl::SimpleAtod(ends[0], &rule.low) &&
                      absl::SimpleAtod(ends[1], &rule.high);
  const bool in_range = rule.kind == WindowRule::Kind::kRange
                            ? rule.low >= -32768.0 && rule.high <= 32767.0
                            : rule.low >= 0.0 && rule.high <= 100.0;
  if (!parsed || !(rule.low < rule.high) || !in_range) {
    return absl::InvalidArgumentError(absl::StrCat(
        "window \"", text, "\"; expected LOW,HIGH in stored units within -32768..32767 or ",
        kPercentilePrefix, "LOW,HIGH within 0..100, LOW < HIGH"));
  }
  return rule;
}

std::string ToString(const WindowRule& rule) {
  return absl::StrCat(rule.kind == WindowRule::Kind::kPercentile ? kPercentilePrefix : "", rule.low,
                      ",", rule.high);
}

absl::StatusOr<Window> ResolveWindow(const WindowRule& rule, absl::Span<const float> voxels) {
  if (rule.kind == WindowRule::Kind::kRange) return Window{rule.low, rule.high};
  std::vector<float> finite;
  finite.reserve(voxels.size());
  std::copy_if(voxels.begin(), voxels.end(), std::back_inserter(finite),
               [](float voxel) { return std::isfinite(voxel); });
  if (finite.empty()) return absl::InvalidArgumentError("no finite voxel");
  const auto percentile = [&](double percent) {
    const auto rank = static_cast<std::ptrdiff_t>(
        std::lround(percent / 100.0 * static_cast<double>(finite.size() - 1)));
    std::nth_element(finite.begin(), finite.begin() + rank, finite.end());
    return static_cast<double>(finite[static_cast<size_t>(rank)]);
  };
  const Window window{percentile(rule.low), percentile(rule.high)};
  if (!(window.low < window.high)) {
    return absl::InvalidArgumentError(
        absl::StrCat("both percentiles of the window are ", window.low, ": a constant image"));
  }
  return window;
}

ResizeWeights::ResizeWeights(int64_t input, int64_t output) {
  const double scale = static_cast<double>(input) / static_cast<double>(output);
  const double support = std::max(scale, 1.0);
  begin_.push_back(0);
  for (int64_t i = 0; i < output; ++i) {
    const double centre = scale * (static_cast<double>(i) + 0.5);
    const int64_t first =
        std::max<int64_t>(0, static_cast<int64_t>(std::floor(centre - support + 0.5)));
    const int64_t last = std::min(input, static_cast<int64_t>(std::floor(centre + support + 0.5)));
    std::vector<double> triangle;
    double sum = 0.0;
    for (int64_t j = first; j < last; ++j) {
      const double distance = std::abs(static_cast<double>(j) + 0.5 - centre) / support;
      triangle.push_back(std::max(0.0, 1.0 - distance));
      sum += triangle.back();
    }
    first_.push_back(first);
    for (const double weight : triangle) weights_.push_back(static_cast<float>(weight / sum));
    begin_.push_back(weights_.size());
  }
}

absl::Span<const float> ResizeWeights::weights(int64_t i) const {
  const size_t begin = begin_[static_cast<size_t>(i)];
  const size_t end = begin_[static_cast<size_t>(i) + 1];
  return absl::MakeConstSpan(weights_).subspan(begin, end - begin);
}

absl::StatusOr<PreparedVolume> Preprocess(const FloatVolume& scan,
                                          const PreprocessOptions& options) {
  absl::StatusOr<Window> window = ResolveWindow(options.window, scan.voxels);
  if (!window.ok()) return window.status();
  const auto& [columns, rows, slices] = scan.geometry.size;
  int64_t first = 0;
  int64_t last = slices;
  while (first < last && !HasContent(Slice(scan, first), *window)) ++first;
  while (last > first && !HasContent(Slice(scan, last - 1), *window)) --last;
  if (first == last) {
    return absl::InvalidArgumentError(
        absl::StrCat("every voxel is at or below the window's low end (", window->low, ")"));
  }
  CubeResizer resizer(columns, rows, last - first, options.size);
  std::vector<float> unit(static_cast<size_t>(columns * rows));
  for (int64_t z = first; z < last; ++z) {
    const absl::Span<const float> slice = Slice(scan, z);
    std::transform(slice.begin(), slice.end(), unit.begin(),
                   [&](float voxel) { return window->ToUnit(static_cast<double>(voxel)); });
    resizer.Add(z - first, unit);
  }
  PreparedVolume prepared;
  prepared.window = *window;
  prepared.kept_slices = {first, last};
  const std::array<int64_t, 3> kept{columns, rows, last - first};
  for (size_t axis = 0; axis < 3; ++axis) {
    prepared.spacing[axis] = scan.geometry.spacing[axis] * static_cast<double>(kept[axis]) /
                             static_cast<double>(options.size);
  }
  prepared.voxels.reserve(resizer.cube().size());
  for (const float value : resizer.cube()) {
    prepared.voxels.push_back(
        static_cast<int16_t>(std::lround(std::clamp(value, -1.0F, 1.0F) * kUnitScale)));
  }
  return prepared;
}

}  // namespace synthvol::imaging
