// A set of volumes to evaluate, wherever they come from: a prepared data set, a folder of written
// volumes, or a checkpoint that renders them on demand.
//
// Not thread-safe. A VolumeSet owns what it opened. Torch-free.
#ifndef SYNTHVOL_MODEL_EVAL_VOLUME_SET_H_
#define SYNTHVOL_MODEL_EVAL_VOLUME_SET_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/dataset.h"
#include "imaging/volume.h"

namespace synthvol::model {

struct VolumeSetOptions {
  // Side of a prepared data set's split; nothing takes both. Other sources have no split.
  std::optional<imaging::Split> split;
  // The range of stored units that becomes [-1, 1], for folders of int16 or NIfTI volumes. A data
  // set and a checkpoint know their own.
  imaging::Window window;
  // Volumes to take, in order; 0 takes all (a checkpoint: 64).
  int64_t count = 0;
  // First seed of a checkpoint's volumes; seed + i renders volume i.
  uint64_t seed = 0;
  // Threads of one synthesis; 0 takes all cores.
  int threads = 0;
};

class VolumeSet {
 public:
  virtual ~VolumeSet() = default;

  // Opens `path`: a folder with manifest.json (imaging/dataset.h), with config.json and
  // model.safetensors (model/checkpoint), or with .npy, .nii or .nii.gz cubes of one size
  // (int16 and NIfTI in stored units, float32 .npy on [-1, 1]). Errors name the path and what was
  // expected.
  static absl::StatusOr<std::unique_ptr<VolumeSet>> Open(const std::string& path,
                                                         const VolumeSetOptions& options);

  // Returns one line on what this is: kind, path, count, digest where there is one.
  virtual std::string Describe() const = 0;
  // Voxels a side.
  virtual int64_t size() const = 0;
  virtual int64_t count() const = 0;
  virtual const imaging::Window& window() const = 0;
  // "CT" or "MR".
  virtual std::string modality() const { return "CT"; }
  // Millimetres between voxels along x, y, z.
  virtual std::array<double, 3> spacing() const { return {1, 1, 1}; }
  // Ranges of the training data that came with a checkpoint (ModelConfig::plausibility_json), or
  // empty.
  virtual std::string plausibility_json() const { return ""; }
  // SHA-256 of the checkpoint that renders the volumes (Checkpoint::digest), or empty.
  virtual std::string checkpoint_digest() const { return ""; }

  // Names volume `index`: a file, or the seed that renders it.
  virtual std::string NameOf(int64_t index) const = 0;
  // Reads or renders volume `index` on the unit scale: [size, size, size].
  virtual absl::StatusOr<std::vector<float>> Load(int64_t index) = 0;
};

// Checks that two sets have the same size and window; INVALID_ARGUMENT says how they differ.
absl::Status CheckComparable(const VolumeSet& a, const VolumeSet& b);

// Renders a checkpoint's volumes through the Synthesizer. Apart, so that the rest links without it.
absl::StatusOr<std::unique_ptr<VolumeSet>> OpenGeneratedVolumes(const std::string& folder,
                                                                const VolumeSetOptions& options);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_VOLUME_SET_H_
