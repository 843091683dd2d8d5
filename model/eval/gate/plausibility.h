// The plausibility gate: does a generated volume look like the data its generator was trained on?
// Fractions of air, lung, soft tissue and bone, mean, spread, roughness, blank and saturated
// slices, each against the range that the training volumes had. Torch-free; the server applies it
// to what it serves, synthvol-eval to samples of a generator.
//
// Plain values and pure functions, but for PlausibilityMeter, which one thread fills.
#ifndef SYNTHVOL_MODEL_EVAL_GATE_PLAUSIBILITY_H_
#define SYNTHVOL_MODEL_EVAL_GATE_PLAUSIBILITY_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/volume.h"

namespace synthvol::model {

// A named half-open interval of stored units [low, high).
struct IntensityRegion {
  std::string name;
  double low = 0;
  double high = 0;

  friend bool operator==(const IntensityRegion&, const IntensityRegion&) = default;
};

// Returns air (< -950 HU), lung (-950..-500), soft_tissue (-500..200, fat included) and bone
// (>= 200) for "CT"; four equal parts of the window, quarter_1..quarter_4, for other modalities.
std::vector<IntensityRegion> DefaultRegions(const std::string& modality,
                                            const imaging::Window& window);

// What is measured of one volume, by name:
//   fraction.REGION      share of voxels in the region
//   mean, standard_deviation   stored units
//   roughness            mean |v(x+1) - v(x)| along rows, stored units: noise is rough, blur smooth
//   blank_slices         share of axial slices whose standard deviation is below 1% of the window
//   saturated_slices     share of axial slices with half their voxels at the window's top, or 99%
//                        at its bottom ("at" is within 0.5% of the window's width)
using VolumeFigures = std::map<std::string, double>;

// Measures a cube whose voxels pass by in order, so that a stream needs no second look.
class PlausibilityMeter {
 public:
  // `size` voxels a side; both voxels and `window` in stored units.
  PlausibilityMeter(int64_t size, const imaging::Window& window,
                    std::vector<IntensityRegion> regions);

  // Takes voxels in order, x fastest, any number at a time; those past the end are ignored.
  void Append(absl::Span<const int16_t> voxels);
  // Returns the figures of the slices seen so far; all are NaN before the first whole slice.
  VolumeFigures Finish() const;

 private:
  void AppendVoxel(double value);
  void EndSlice();

  const int64_t size_;
  const imaging::Window window_;
  const std::vector<IntensityRegion> regions_;
  std::vector<int64_t> region_counts_;
  int64_t voxels_ = 0;
  int64_t column_ = 0;
  int64_t in_slice_ = 0;
  int64_t slices_ = 0;
  int64_t blank_slices_ = 0;
  int64_t saturated_slices_ = 0;
  int64_t slice_top_ = 0;
  int64_t slice_bottom_ = 0;
  double slice_sum_ = 0;
  double slice_squares_ = 0;
  double sum_ = 0;
  double squares_ = 0;
  double steps_ = 0;
  double previous_ = 0;
};

// A figure outside its range.
struct PlausibilityViolation {
  std::string figure;
  double value = 0;
  double low = 0;
  double high = 0;

  // Returns e.g. "fraction.air is 0.91, expected 0.18 to 0.62".
  std::string ToString() const;
};

// The ranges of a set of training volumes.
class PlausibilityRanges {
 public:
  struct Range {
    // Smallest and largest value among the training volumes.
    double observed_low = 0;
    double observed_high = 0;
    // What a generated volume may have: the observed range and half its width on either side, at
    // least 0.05 for shares and 5% of the window's width (1% for roughness) for intensities.
    double low = 0;
    double high = 0;

    friend bool operator==(const Range&, const Range&) = default;
  };

  // Takes the figures of the training volumes. INVALID_ARGUMENT without volumes.
  static absl::StatusOr<PlausibilityRanges> Of(const std::vector<VolumeFigures>& volumes,
                                               const imaging::Window& window,
                                               std::vector<IntensityRegion> regions);
  // Parses ToJson's text (ModelConfig::plausibility_json); INVALID_ARGUMENT names `where` and the
  // field. Hostile text is safe.
  static absl::StatusOr<PlausibilityRanges> Parse(const std::string& json,
                                                  const std::string& where);
  // Returns one line of JSON with stable key order.
  std::string ToJson() const;

  // Returns a meter for cubes of `size` voxels a side.
  PlausibilityMeter MakeMeter(int64_t size) const;
  // Returns the figures that are out of range or not finite; empty when the volume is plausible.
  std::vector<PlausibilityViolation> Check(const VolumeFigures& figures) const;

  const imaging::Window& window() const { return window_; }
  const std::vector<IntensityRegion>& regions() const { return regions_; }
  const std::map<std::string, Range>& ranges() const { return ranges_; }
  // Number of training volumes.
  int64_t volumes() const { return volumes_; }

 private:
  imaging::Window window_;
  std::vector<IntensityRegion> regions_;
  std::map<std::string, Range> ranges_;
  int64_t volumes_ = 0;
};

// Measures every training volume of a prepared data set (imaging/dataset.h): what goes into
// ModelConfig::plausibility_json by way of ToJson(). Reads each volume once.
absl::StatusOr<PlausibilityRanges> RangesOfDataset(const std::string& dataset_dir);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_GATE_PLAUSIBILITY_H_
