// Greyscale PNG pictures of volumes: one row a volume with its axial, coronal and sagittal
// mid-planes, true to scale in millimetres.
//
// Free functions touch only the file they name. MidPlanes are plain values.
#ifndef SYNTHVOL_IMAGING_MONTAGE_H_
#define SYNTHVOL_IMAGING_MONTAGE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// Keeps the three mid-planes of a volume whose slices pass by in order.
class MidPlanes {
 public:
  explicit MidPlanes(const Geometry& geometry);

  // Takes voxels in order, x fastest, any number at a time; those past the end are ignored.
  void Append(absl::Span<const int16_t> voxels);
  void Append(absl::Span<const float> voxels);

  const Geometry& geometry() const { return geometry_; }
  // Stored units: axial [y, x] at z = size/2, coronal [z, x] at y = size/2, sagittal [z, y] at
  // x = size/2.
  const std::vector<float>& axial() const { return planes_[0]; }
  const std::vector<float>& coronal() const { return planes_[1]; }
  const std::vector<float>& sagittal() const { return planes_[2]; }

 private:
  template <typename T>
  void AppendVoxels(absl::Span<const T> voxels);

  Geometry geometry_;
  int64_t next_ = 0;
  std::array<std::vector<float>, 3> planes_;
};

// Returns a whole volume's mid-planes.
MidPlanes MidPlanesOf(const Volume& volume);
MidPlanes MidPlanesOf(const FloatVolume& volume);

// An 8-bit picture, row-major.
struct GrayImage {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;
};

// Draws one row per volume, three tiles of `tile` pixels a side each. The patient's left is to the
// right of axial and coronal pictures, the head is up, the front is up (axial) or left (sagittal).
// The largest extent of any volume fills a tile; `window` maps to black..white.
GrayImage DrawMontage(absl::Span<const MidPlanes> volumes, const Window& window, int tile = 256);

// Writes an 8-bit greyscale PNG atomically.
absl::Status WritePng(const std::string& path, const GrayImage& image);

// Draws and writes.
absl::Status WriteMontage(const std::string& path, absl::Span<const MidPlanes> volumes,
                          const Window& window, int tile = 256);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_MONTAGE_H_
