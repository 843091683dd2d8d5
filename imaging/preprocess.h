// What happens to a scan before training, as the papers do it: values clipped to a window and
// mapped to [-1, 1], blank axial slices trimmed at both ends, an anti-aliased linear resize to a
// cube.
//
// Pure functions. The working memory of Preprocess is the cube in float and a few slices, beside
// the scan itself.
#ifndef SYNTHVOL_IMAGING_PREPROCESS_H_
#define SYNTHVOL_IMAGING_PREPROCESS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// How a scan's window is found.
struct WindowRule {
  enum class Kind {
    // `low` and `high` are stored units (HU).
    kRange,
    // `low` and `high` are percentiles (0..100) of the scan's finite voxels: for MR, whose units
    // differ from scanner to scanner.
    kPercentile,
  };
  Kind kind = Kind::kRange;
  double low = -1024.0;
  double high = 600.0;

  friend bool operator==(const WindowRule&, const WindowRule&) = default;
};

// Parses "LOW,HIGH" or "percentile:LOW,HIGH". INVALID_ARGUMENT says what was expected.
absl::StatusOr<WindowRule> ParseWindowRule(const std::string& text);
// Returns what ParseWindowRule reads.
std::string ToString(const WindowRule& rule);

// Returns the window that the rule gives for these voxels. INVALID_ARGUMENT when the percentiles
// coincide (a constant image) or nothing is finite.
absl::StatusOr<Window> ResolveWindow(const WindowRule& rule, absl::Span<const float> voxels);

struct PreprocessOptions {
  // Voxels a side of the result.
  int64_t size = 64;
  WindowRule window;
};

struct PreparedVolume {
  // [size, size, size]; value / 32767 is the unit scale.
  std::vector<int16_t> voxels;
  // Millimetres between the resized voxels along x, y, z.
  std::array<double, 3> spacing{};
  Window window;
  // Slices of the scan that were kept: first and one past the last.
  std::array<int64_t, 2> kept_slices{};
};

// Prepares a scan in stored units (HU), axial. NaN counts as the window's low end (air).
// INVALID_ARGUMENT when nothing is above the window's low end.
absl::StatusOr<PreparedVolume> Preprocess(const FloatVolume& scan,
                                          const PreprocessOptions& options);

// The weights of a linear resize along one axis. Shrinking widens the triangle by the factor, so
// that every voxel counts (as torch's antialias=True and PIL's BILINEAR do); the ends are cut off
// and the rest normalised.
class ResizeWeights {
 public:
  ResizeWeights(int64_t input, int64_t output);

  int64_t output() const { return static_cast<int64_t>(first_.size()); }
  // Returns the first input index that output `i` takes from.
  int64_t first(int64_t i) const { return first_[static_cast<size_t>(i)]; }
  // Returns the weights of input first(i), first(i) + 1, ...; they sum to 1.
  absl::Span<const float> weights(int64_t i) const;

 private:
  std::vector<int64_t> first_;
  std::vector<size_t> begin_;  // into weights_; one more than outputs
  std::vector<float> weights_;
};

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_PREPROCESS_H_
