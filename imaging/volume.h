// A 3D image with its place in the patient: the type that readers produce, generators fill and
// writers take.
//
// Plain values: copying copies voxels; concurrent reads are safe.
#ifndef SYNTHVOL_IMAGING_VOLUME_H_
#define SYNTHVOL_IMAGING_VOLUME_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace synthvol::imaging {

// How a voxel is kept in files and streams: little-endian, signed 16-bit stored units (HU for CT)
// or 32-bit float.
enum class VoxelType { kInt16, kFloat32 };

// Returns bytes a voxel: 2 or 4.
constexpr int64_t SizeOf(VoxelType type) { return type == VoxelType::kInt16 ? 2 : 4; }

// Where a grid of voxels lies, in DICOM's patient coordinates (LPS: x to the patient's left,
// y to the back, z to the head), millimetres.
struct Geometry {
  // Voxels along x (columns), y (rows), z (slices).
  std::array<int64_t, 3> size{0, 0, 0};
  // Millimetres between voxel centres along x, y, z; positive.
  std::array<double, 3> spacing{1.0, 1.0, 1.0};
  // Centre of voxel (0, 0, 0).
  std::array<double, 3> origin{0.0, 0.0, 0.0};
  // Direction cosines, row-major 3x3: column k is the direction of axis k.
  std::array<double, 9> direction{1, 0, 0, 0, 1, 0, 0, 0, 1};

  // Returns the number of voxels.
  int64_t VoxelCount() const { return size[0] * size[1] * size[2]; }
  // Returns the LPS position of voxel (x, y, z).
  std::array<double, 3> Position(double x, double y, double z) const;

  friend bool operator==(const Geometry&, const Geometry&) = default;
};

// Voxels [z, y, x], x fastest.
template <typename T>
struct Image {
  Geometry geometry;
  std::vector<T> voxels;

  T& At(int64_t x, int64_t y, int64_t z) { return voxels[Index(x, y, z)]; }
  const T& At(int64_t x, int64_t y, int64_t z) const { return voxels[Index(x, y, z)]; }
  size_t Index(int64_t x, int64_t y, int64_t z) const {
    return static_cast<size_t>((z * geometry.size[1] + y) * geometry.size[0] + x);
  }
};

// Stored units: Hounsfield units for CT, scanner units for MR.
using Volume = Image<int16_t>;
using FloatVolume = Image<float>;

// The range of stored units that a generator's [-1, 1] stands for.
struct Window {
  double low = -1024.0;
  double high = 600.0;

  // Maps [low, high] to [-1, 1], clamped.
  float ToUnit(double stored) const;
  // Maps [-1, 1] to [low, high], clamped and rounded half away from zero. NaN gives low.
  int16_t ToStored(float unit) const;

  friend bool operator==(const Window&, const Window&) = default;
};

// Returns the geometry of a synthetic cube: `size` voxels a side, axial, centred on the origin.
Geometry CentredCube(int64_t size, std::array<double, 3> spacing);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_VOLUME_H_
