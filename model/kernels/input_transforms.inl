// The transforms before the products of a convolution, docs/inference.md. Fields are written
// through StoreField: as float, or as another type whose overload was declared before. Included by
// kernels_*.cc after a Simd type.
#include <cstdint>

#include "model/kernels/kernels.h"

namespace synthvol::model {
namespace {

inline void StoreField(float* p, Simd::V v) { Simd::Store(p, v); }

// The 8 fields at one position: [z][y][x] of `v` are the voxel before (0) and the voxel itself (1).
template <typename Field>
void Differences(const Simd::V (&v)[2][2][2], Field* fields, int64_t field_stride) {
  using V = Simd::V;
  V x[2][2][2];  // [z][y][difference along x]
  for (int z = 0; z < 2; ++z) {
    for (int y = 0; y < 2; ++y) {
      x[z][y][0] = v[z][y][1];
      x[z][y][1] = Simd::Sub(v[z][y][1], v[z][y][0]);
    }
  }
  for (int dx = 0; dx < 2; ++dx) {
    const V y0[2] = {x[0][1][dx], Simd::Sub(x[0][1][dx], x[0][0][dx])};
    const V y1[2] = {x[1][1][dx], Simd::Sub(x[1][1][dx], x[1][0][dx])};
    for (int dy = 0; dy < 2; ++dy) {
      StoreField(fields + (dy * 2 + dx) * field_stride, y1[dy]);
      StoreField(fields + (4 + dy * 2 + dx) * field_stride, Simd::Sub(y1[dy], y0[dy]));
    }
  }
}

template <typename Field>
void TransformInputUp(const Block& block, const float* halo, Field* fields) {
  const int64_t channels = block.channels;
  const int64_t halo_row = (block.tiles[2] + 2) * channels;
  const int64_t halo_plane = (block.tiles[1] + 2) * halo_row;
  const int64_t field_row = (block.tiles[2] + 1) * channels;
  const int64_t field_plane = (block.tiles[1] + 1) * field_row;
  const int64_t field_stride = (block.tiles[0] + 1) * field_plane;
  for (int64_t z = 0; z <= block.tiles[0]; ++z) {
    for (int64_t y = 0; y <= block.tiles[1]; ++y) {
      const float* in = halo + z * halo_plane + y * halo_row;
      Field* out = fields + z * field_plane + y * field_row;
      // Channels and positions along x are one run: the voxel before is `channels` floats back.
      for (int64_t i = 0; i < field_row; i += Simd::kWidth) {
        Simd::V v[2][2][2];
        for (int dz = 0; dz < 2; ++dz) {
          for (int dy = 0; dy < 2; ++dy) {
            for (int dx = 0; dx < 2; ++dx) {
              v[dz][dy][dx] = Simd::Load(in + dz * halo_plane + dy * halo_row + dx * channels + i);
            }
          }
        }
        Differences(v, out + i, field_stride);
      }
    }
  }
}

// Winograd's F(2,3) on the input: B^T d.
void WinogradInput(const Simd::V (&d)[4], Simd::V (&out)[4]) {
  out[0] = Simd::Sub(d[0], d[2]);
  out[1] = Simd::Add(d[1], d[2]);
  out[2] = Simd::Sub(d[2], d[1]);
  out[3] = Simd::Sub(d[1], d[3]);
}

// One tile of 4x4x4 voxels, one register of channels.
template <typename Field>
void WinogradTile(const float* in, int64_t plane, int64_t row, int64_t channels, Field* fields,
                  int64_t field_stride) {
  using V = Simd::V;
  V t[4][4][4];  // [y point][x point][z]
  for (int z = 0; z < 4; ++z) {
    V rows[4][4];  // [x point][y]
    for (int y = 0; y < 4; ++y) {
      V line[4];
      for (int x = 0; x < 4; ++x) line[x] = Simd::Load(in + z * plane + y * row + x * channels);
      V points[4];
      WinogradInput(line, points);
      for (int x = 0; x < 4; ++x) rows[x][y] = points[x];
    }
    for (int x = 0; x < 4; ++x) {
      V points[4];
      WinogradInput(rows[x], points);
      for (int y = 0; y < 4; ++y) t[y][x][z] = points[y];
    }
  }
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 4; ++x) {
      V points[4];
      WinogradInput(t[y][x], points);
      for (int z = 0; z < 4; ++z) {
        StoreField(fields + ((z * 4 + y) * 4 + x) * field_stride, points[z]);
      }
    }
  }
}

template <typename Field>
void TransformInputSame(const Block& block, const float* halo, Field* fields) {
  const int64_t channels = block.channels;
  const int64_t row = (2 * block.tiles[2] + 2) * channels;
  const int64_t plane = (2 * block.tiles[1] + 2) * row;
  const int64_t field_stride =
      block.tiles[0] * block.tiles[1] * block.tiles[2] * channels + block.field_padding;
  for (int64_t z = 0; z < block.tiles[0]; ++z) {
    for (int64_t y = 0; y < block.tiles[1]; ++y) {
      for (int64_t x = 0; x < block.tiles[2]; ++x) {
        const float* in = halo + 2 * z * plane + 2 * y * row + 2 * x * channels;
        Field* out = fields + ((z * block.tiles[1] + y) * block.tiles[2] + x) * channels;
        for (int64_t c = 0; c < channels; c += Simd::kWidth) {
          WinogradTile(in + c, plane, row, channels, out + c, field_stride);
        }
      }
    }
  }
}

}  // namespace
}  // namespace synthvol::model
