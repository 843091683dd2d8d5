// Writers of plain volume files that take slices as they arrive, so that a client can land a
// stream without holding a volume: .npy, NIfTI (.nii, .nii.gz), raw with a MetaImage header, and a
// PNG of the mid-planes.
//
// A VolumeWriter is not thread-safe; it owns its files, which appear only with Commit(). One that
// is destroyed before leaves nothing behind.
#ifndef SYNTHVOL_IMAGING_VOLUME_WRITER_H_
#define SYNTHVOL_IMAGING_VOLUME_WRITER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

enum class VolumeFormat { kNpy, kNifti, kNiftiGz, kRaw, kPng };

// Returns the final extension: ".npy", ".nii", ".nii.gz", ".raw", ".png".
const char* Extension(VolumeFormat format);
// Returns the format of a path by its extension (".mhd" counts as raw), nothing for others.
std::optional<VolumeFormat> FormatFromPath(std::string_view path);

class VolumeWriter {
 public:
  struct Options {
    // The range of stored units that a PNG shows as black to white; {-1, 1} for unit volumes.
    Window window;
    // Pixels a side of a PNG's tiles.
    int tile = 256;
  };

  // Opens a writer for a volume of this geometry and voxel type. `path` should end in the format's
  // extension; kRaw writes PATH with its extension replaced by .mhd beside it. INVALID_ARGUMENT
  // when the format cannot hold the geometry; otherwise the system's error, naming the path.
  static absl::StatusOr<std::unique_ptr<VolumeWriter>> Create(const std::string& path,
                                                              VolumeFormat format,
                                                              const Geometry& geometry,
                                                              VoxelType type,
                                                              const Options& options);
  static absl::StatusOr<std::unique_ptr<VolumeWriter>> Create(const std::string& path,
                                                              VolumeFormat format,
                                                              const Geometry& geometry,
                                                              VoxelType type) {
    return Create(path, format, geometry, type, Options());
  }

  virtual ~VolumeWriter();
  VolumeWriter(const VolumeWriter&) = delete;
  VolumeWriter& operator=(const VolumeWriter&) = delete;

  // Appends voxels [slices, y, x], in order of rising z; parts of slices are fine too.
  // INVALID_ARGUMENT for another voxel type than announced or for more voxels than the geometry
  // has; otherwise the system's error, naming the file.
  absl::Status AppendSlices(absl::Span<const int16_t> voxels);
  absl::Status AppendSlices(absl::Span<const float> voxels);

  // Makes the files appear. FAILED_PRECONDITION when voxels are missing.
  absl::Status Commit();

  // Lists the files that Commit() makes.
  const std::vector<std::string>& paths() const { return paths_; }
  // Returns how many voxels were appended.
  int64_t voxels_written() const { return written_; }

 protected:
  VolumeWriter(std::vector<std::string> paths, const Geometry& geometry, VoxelType type);

  const Geometry& geometry() const { return geometry_; }
  VoxelType type() const { return type_; }

 private:
  // Takes voxels that were checked, as they lie in memory.
  virtual absl::Status Write(std::string_view bytes) = 0;
  virtual absl::Status Finish() = 0;
  absl::Status Check(VoxelType type, int64_t count);

  const std::vector<std::string> paths_;
  const Geometry geometry_;
  const VoxelType type_;
  int64_t written_ = 0;
};

// Writes a whole volume at once.
absl::Status WriteVolume(const std::string& path, VolumeFormat format, const Volume& volume,
                         const VolumeWriter::Options& options = VolumeWriter::Options());
absl::Status WriteVolume(const std::string& path, VolumeFormat format, const FloatVolume& volume,
                         const VolumeWriter::Options& options = VolumeWriter::Options());

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_VOLUME_WRITER_H_
