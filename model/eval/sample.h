// What is measured of every volume of a set, in one pass, so that a generator renders each volume
// once. Torch-free header.
//
// Plain values and free functions; a FeatureNetwork serves one call at a time.
#ifndef SYNTHVOL_MODEL_EVAL_SAMPLE_H_
#define SYNTHVOL_MODEL_EVAL_SAMPLE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/montage.h"
#include "model/eval/feature_network.h"
#include "model/eval/gate/plausibility.h"
#include "model/eval/statistics/features.h"
#include "model/eval/volume_set.h"

namespace synthvol::model {

// Bins of an intensity histogram over the window, ends included in the outer bins.
inline constexpr int kHistogramBins = 128;
// Voxel space: volumes averaged down to this many voxels a side, when larger.
inline constexpr int64_t kVoxelSpaceSize = 32;

struct Sample {
  // VolumeSet::Describe().
  std::string description;
  std::vector<std::string> names;
  // What computed `features`; FeatureNetwork::name().
  std::string extractor;
  FeatureSet features;
  // [count, 32^3] on the unit scale.
  FeatureSet voxels;
  std::vector<VolumeFigures> figures;
  // Share of all voxels by bin.
  std::vector<double> histogram;
  // Mid-planes of the first volumes.
  std::vector<imaging::MidPlanes> pictures;

  int64_t count() const { return static_cast<int64_t>(names.size()); }
};

struct MeasureOptions {
  // Computes features; none without a network.
  const FeatureNetwork* network = nullptr;
  bool voxels = false;
  bool figures = false;
  // Volumes to keep mid-planes of, and their spacing.
  int64_t pictures = 0;
  std::array<double, 3> picture_spacing{1, 1, 1};
};

// Loads every volume once and measures it; shows progress on stderr under `label`.
absl::StatusOr<Sample> Measure(VolumeSet& set, const MeasureOptions& options,
                               const std::string& label);

// Returns a volume's mid-planes in stored units, with voxels of `spacing` millimetres: volumes that
// are compared are drawn alike, though a folder of .npy files knows no spacing.
imaging::MidPlanes Picture(const VolumeSet& set, absl::Span<const float> unit,
                           const std::array<double, 3>& spacing);

// Reads features that WriteFeatures wrote: a float32 .npy [count, dims] and, beside it,
// PATH.json with the extractor's name and the sample's description.
absl::StatusOr<Sample> ReadFeatures(const std::string& path);
// Writes both files atomically.
absl::Status WriteFeatures(const std::string& path, const Sample& sample);

// MS-SSIM of pairs of different volumes of a set.
struct Diversity {
  struct Pair {
    int64_t first = 0;
    int64_t second = 0;
    double ms_ssim = 0;
  };
  std::vector<Pair> pairs;
  int scales = 0;
  double mean = 0;
  double standard_deviation = 0;
};

// Compares `pairs` pairs drawn without replacement (all when there are fewer), by `seed`.
// INVALID_ARGUMENT with fewer than 2 volumes.
absl::StatusOr<Diversity> MeasureDiversity(VolumeSet& set, int64_t pairs, uint64_t seed,
                                           const std::string& label);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_SAMPLE_H_
