// A prepared data set: what synthvol-prepare writes and synthvol-train reads.
//
// A folder with `manifest.json` and `volumes/NNNNN.npy`: int16 cubes [z, y, x] of `size` voxels a
// side, where value / 32767 is the unit scale [-1, 1]. manifest.json appears when the data set is
// complete. docs/data-preparation.md describes both.
//
// Plain values and pure functions. A MappedVolume owns its mapping; concurrent reads are safe.
#ifndef SYNTHVOL_IMAGING_DATASET_H_
#define SYNTHVOL_IMAGING_DATASET_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// The stored value that stands for 1.0 on the unit scale.
inline constexpr float kUnitScale = 32767.0F;

enum class Split { kTrain, kValidation };

// Returns "train" or "validation".
const char* ToString(Split split);

// One prepared volume.
struct DatasetItem {
  // Relative to the data set's folder: "volumes/00000.npy".
  std::string file;
  // Absolute path of the scan ("#series=UID" appended for one of several DICOM series in a
  // folder), or "phantom:SEED".
  std::string source;
  // SHA-256 over the scan's files, hexadecimal.
  std::string source_digest;
  // Scans of one patient are never on both sides of the split.
  std::string patient;
  Split split = Split::kTrain;
  // Millimetres between the resized voxels along x, y, z.
  std::array<double, 3> spacing{1.0, 1.0, 1.0};
  // The range of stored units that became [-1, 1]; differs from item to item with a percentile
  // window.
  Window window;
  // Class, where the source says one; counts from 0.
  std::optional<int64_t> label;

  friend bool operator==(const DatasetItem&, const DatasetItem&) = default;
};

// A scan that could not be prepared.
struct DatasetFailure {
  std::string source;
  std::string reason;

  friend bool operator==(const DatasetFailure&, const DatasetFailure&) = default;
};

// manifest.json.
struct DatasetManifest {
  // Voxels a side of every volume.
  int64_t size = 0;
  // "CT" or "MR".
  std::string modality = "CT";
  // The items' common window; with a percentile window the mean of the items' windows.
  Window window;
  // How the window was asked for: "-1024,600" or "percentile:0.5,99.5".
  std::string window_rule;
  // Share of patients that went to training, and the seed that chose them.
  double train_fraction = 0.9;
  uint64_t split_seed = 0;
  // Names of the classes that labels count; empty without labels.
  std::vector<std::string> class_names;
  std::vector<DatasetItem> items;
  std::vector<DatasetFailure> failures;

  // Returns how many items are on a side of the split.
  int64_t Count(Split split) const;

  friend bool operator==(const DatasetManifest&, const DatasetManifest&) = default;
};

// Returns manifest.json's text: stable key order, so equal manifests have equal bytes.
std::string ToJson(const DatasetManifest& manifest);
// Parses manifest.json's text; INVALID_ARGUMENT names `where`, the field and what was expected.
// Hostile text is safe: file names that leave the folder, absurd sizes and wrong types are errors.
absl::StatusOr<DatasetManifest> ParseManifest(std::string_view json, const std::string& where);

// Returns one item as a JSON object on one line, and parses it back; the errors are
// ParseManifest's. synthvol-prepare keeps its progress in such lines.
std::string ToJson(const DatasetItem& item);
absl::StatusOr<DatasetItem> ParseDatasetItem(std::string_view json, const std::string& where);

// Returns DIR/manifest.json.
std::string ManifestPath(const std::string& dir);
// Reads DIR/manifest.json. NOT_FOUND says that the folder holds no (complete) data set.
absl::StatusOr<DatasetManifest> ReadManifest(const std::string& dir);
// Writes DIR/manifest.json atomically.
absl::Status WriteManifest(const std::string& dir, const DatasetManifest& manifest);
// Returns the SHA-256 of DIR/manifest.json, hexadecimal: the data set's identity, since the
// manifest holds every source's digest.
absl::StatusOr<std::string> ManifestDigest(const std::string& dir);

// A prepared volume, mapped read-only: pages come in as they are touched.
class MappedVolume {
 public:
  // Maps `path`. INVALID_ARGUMENT names the file when it is not an int16 .npy of exactly
  // [size, size, size].
  static absl::StatusOr<MappedVolume> Open(const std::string& path, int64_t size);

  MappedVolume(MappedVolume&& other) noexcept;
  MappedVolume& operator=(MappedVolume&& other) noexcept;
  MappedVolume(const MappedVolume&) = delete;
  MappedVolume& operator=(const MappedVolume&) = delete;
  ~MappedVolume();

  // Returns the voxels [size, size, size], x fastest; valid as long as this object.
  absl::Span<const int16_t> voxels() const { return voxels_; }

 private:
  MappedVolume(void* base, size_t bytes, absl::Span<const int16_t> voxels);
  void Unmap();

  void* base_ = nullptr;
  size_t bytes_ = 0;
  absl::Span<const int16_t> voxels_;
};

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_DATASET_H_
