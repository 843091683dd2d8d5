#include "imaging/montage.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"

namespace synthvol::imaging {
namespace {

// A plane as it is shown: columns and rows of voxels with their sizes in millimetres.
struct Plane {
  const std::vector<float>* voxels;
  int64_t columns;
  int64_t rows;
  double column_mm;
  double row_mm;
  bool flip_rows;  // the first row is drawn at the bottom

  double width_mm() const { return static_cast<double>(columns) * column_mm; }
  double height_mm() const { return static_cast<double>(rows) * row_mm; }
};

std::array<Plane, 3> PlanesOf(const MidPlanes& volume) {
  const auto& [nx, ny, nz] = volume.geometry().size;
  const auto& [dx, dy, dz] = volume.geometry().spacing;
  return {Plane{&volume.axial(), nx, ny, dx, dy, false},
          Plane{&volume.coronal(), nx, nz, dx, dz, true},
          Plane{&volume.sagittal(), ny, nz, dy, dz, true}};
}

// Interpolates linearly at a continuous index, where 0 is the centre of the first voxel.
float Sample(const Plane& plane, double column, double row) {
  const double x = std::clamp(column, 0.0, static_cast<double>(plane.columns - 1));
  const double y = std::clamp(row, 0.0, static_cast<double>(plane.rows - 1));
  const auto x0 = static_cast<int64_t>(x);
  const auto y0 = static_cast<int64_t>(y);
  const int64_t x1 = std::min(x0 + 1, plane.columns - 1);
  const int64_t y1 = std::min(y0 + 1, plane.rows - 1);
  const auto fx = static_cast<float>(x - static_cast<double>(x0));
  const auto fy = static_cast<float>(y - static_cast<double>(y0));
  const auto at = [&](int64_t ix, int64_t iy) {
    return (*plane.voxels)[static_cast<size_t>(iy * plane.columns + ix)];
  };
  const float top = at(x0, y0) + fx * (at(x1, y0) - at(x0, y0));
  const float bottom = at(x0, y1) + fx * (at(x1, y1) - at(x0, y1));
  return top + fy * (bottom - top);
}

void DrawPlane(const Plane& plane, const Window& window, double mm_per_pixel, int tile, int left,
               int top, GrayImage* image) {
  // The plane's middle is the tile's middle.
  for (int py = 0; py < tile; ++py) {
    const double mm_y = (py + 0.5 - 0.5 * tile) * mm_per_pixel + 0.5 * plane.height_mm();
    if (mm_y < 0.0 || mm_y > plane.height_mm()) continue;
    const double from_first_row = plane.flip_rows ? plane.height_mm() - mm_y : mm_y;
    for (int px = 0; px < tile; ++px) {
      const double mm_x = (px + 0.5 - 0.5 * tile) * mm_per_pixel + 0.5 * plane.width_mm();
      if (mm_x < 0.0 || mm_x > plane.width_mm()) continue;
      const float value =
          Sample(plane, mm_x / plane.column_mm - 0.5, from_first_row / plane.row_mm - 0.5);
      const float gray = (window.ToUnit(value) + 1.0F) * 127.5F;
      const size_t index = static_cast<size_t>(top + py) * static_cast<size_t>(image->width) +
                           static_cast<size_t>(left + px);
      image->pixels[index] = static_cast<uint8_t>(std::lround(gray));
    }
  }
}

}  // namespace

MidPlanes::MidPlanes(const Geometry& geometry) : geometry_(geometry) {
  const auto& [nx, ny, nz] = geometry.size;
  planes_[0].resize(static_cast<size_t>(nx * ny));
  planes_[1].resize(static_cast<size_t>(nx * nz));
  planes_[2].resize(static_cast<size_t>(ny * nz));
}

template <typename T>
void MidPlanes::AppendVoxels(absl::Span<const T> voxels) {
  const auto& [nx, ny, nz] = geometry_.size;
  // Row by row, so that most rows are passed over without a look at their voxels.
  for (size_t used = 0; used < voxels.size() && next_ < geometry_.VoxelCount();) {
    const int64_t x = next_ % nx;
    const int64_t y = next_ / nx % ny;
    const int64_t z = next_ / (nx * ny);
    const int64_t count = std::min(nx - x, static_cast<int64_t>(voxels.size() - used));
    const absl::Span<const T> row = voxels.subspan(used, static_cast<size_t>(count));
    if (z == nz / 2) std::copy(row.begin(), row.end(), planes_[0].begin() + y * nx + x);
    if (y == ny / 2) std::copy(row.begin(), row.end(), planes_[1].begin() + z * nx + x);
    if (x <= nx / 2 && nx / 2 < x + count) {
      planes_[2][static_cast<size_t>(z * ny + y)] =
          static_cast<float>(row[static_cast<size_t>(nx / 2 - x)]);
    }
    next_ += count;
    used += static_cast<size_t>(count);
  }
}

void MidPlanes::Append(absl::Span<const int16_t> voxels) { AppendVoxels(voxels); }
void MidPlanes::Append(absl::Span<const float> voxels) { AppendVoxels(voxels); }

MidPlanes MidPlanesOf(const Volume& volume) {
  MidPlanes planes(volume.geometry);
  planes.Append(volume.voxels);
  return planes;
}

MidPlanes MidPlanesOf(const FloatVolume& volume) {
  MidPlanes planes(volume.geometry);
  planes.Append(volume.voxels);
  return planes;
}

GrayImage DrawMontage(absl::Span<const MidPlanes> volumes, const Window& window, int tile) {
  double largest_mm = 0.0;
  for (const MidPlanes& volume : volumes) {
    for (const Plane& plane : PlanesOf(volume)) {
      largest_mm = std::max({largest_mm, plane.width_mm(), plane.height_mm()});
    }
  }
  GrayImage image;
  image.width = 3 * tile;
  image.height = tile * static_cast<int>(volumes.size());
  image.pixels.assign(static_cast<size_t>(image.width) * static_cast<size_t>(image.height), 0);
  for (size_t row = 0; row < volumes.size(); ++row) {
    int left = 0;
    for (const Plane& plane : PlanesOf(volumes[row])) {
      DrawPlane(plane, window, largest_mm / tile, tile, left, static_cast<int>(row) * tile, &image);
      left += tile;
    }
  }
  return image;
}

absl::Status WritePng(const std::string& path, const GrayImage& image) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = PNG_FORMAT_GRAY;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::string encoded(bytes, '\0');
  const int done = png_image_write_to_memory(&header, encoded.data(), &bytes, 0,
                                             image.pixels.data(), image.width, nullptr);
  if (done == 0) {
    return absl::InternalError(absl::StrCat(path, ": cannot encode PNG: ", header.message));
  }
  return WriteFileAtomically(path, std::string_view(encoded).substr(0, bytes));
}

absl::Status WriteMontage(const std::string& path, absl::Span<const MidPlanes> volumes,
                          const Window& window, int tile) {
  return WritePng(path, DrawMontage(volumes, window, tile));
}

}  // namespace synthvol::imaging
