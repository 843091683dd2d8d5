// GroupNorm+ReLU and the transforms around the products of a convolution, docs/inference.md.
// Included by kernels_*.cc after a Simd type.
#include <cstdint>

#include "model/kernels/kernels.h"

namespace synthvol::model {
namespace {

void Normalise(const float* in, int64_t voxels, int64_t channels, const float* scale,
               const float* shift, float* out) {
  const Simd::V zero = Simd::Broadcast(0.0F);
  for (int64_t voxel = 0; voxel < voxels; ++voxel) {
    for (int64_t c = 0; c < channels; c += Simd::kWidth) {
      const Simd::V value =
          Simd::Fma(Simd::Load(in + c), Simd::Load(scale + c), Simd::Load(shift + c));
      Simd::Store(out + c, Simd::Max(value, zero));
    }
    in += channels;
    out += channels;
  }
}

// The 8 fields at one position: [z][y][x] of `v` are the voxel before (0) and the voxel itself (1).
void Differences(const Simd::V (&v)[2][2][2], float* fields, int64_t field_stride) {
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
      Simd::Store(fields + (dy * 2 + dx) * field_stride, y1[dy]);
      Simd::Store(fields + (4 + dy * 2 + dx) * field_stride, Simd::Sub(y1[dy], y0[dy]));
    }
  }
}

void TransformInputUp(const Block& block, const float* halo, float* fields) {
  const int64_t channels = block.channels;
  const int64_t halo_row = (block.tiles[2] + 2) * channels;
  const int64_t halo_plane = (block.tiles[1] + 2) * halo_row;
  const int64_t field_row = (block.tiles[2] + 1) * channels;
  const int64_t field_plane = (block.tiles[1] + 1) * field_row;
  const int64_t field_stride = (block.tiles[0] + 1) * field_plane;
  for (int64_t z = 0; z <= block.tiles[0]; ++z) {
    for (int64_t y = 0; y <= block.tiles[1]; ++y) {
      const float* in = halo + z * halo_plane + y * halo_row;
      float* out = fields + z * field_plane + y * field_row;
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
void WinogradTile(const float* in, int64_t plane, int64_t row, int64_t channels, float* fields,
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
        Simd::Store(fields + ((z * 4 + y) * 4 + x) * field_stride, points[z]);
      }
    }
  }
}

void TransformInputSame(const Block& block, const float* halo, float* fields) {
  const int64_t channels = block.channels;
  const int64_t row = (2 * block.tiles[2] + 2) * channels;
  const int64_t plane = (2 * block.tiles[1] + 2) * row;
  const int64_t field_stride = block.tiles[0] * block.tiles[1] * block.tiles[2] * channels;
  for (int64_t z = 0; z < block.tiles[0]; ++z) {
    for (int64_t y = 0; y < block.tiles[1]; ++y) {
      for (int64_t x = 0; x < block.tiles[2]; ++x) {
        const float* in = halo + 2 * z * plane + 2 * y * row + 2 * x * channels;
        float* out = fields + ((z * block.tiles[1] + y) * block.tiles[2] + x) * channels;
        for (int64_t c = 0; c < channels; c += Simd::kWidth) {
          WinogradTile(in + c, plane, row, channels, out + c, field_stride);
        }
      }
    }
  }
}

// The products along one axis to the even and the odd output.
void Reduce(const Simd::V (&m)[3], Simd::V& even, Simd::V& odd) {
  even = Simd::Add(m[1], m[0]);
  odd = Simd::Add(m[1], m[2]);
}
void Reduce(const Simd::V (&m)[4], Simd::V& even, Simd::V& odd) {
  even = Simd::Add(m[0], Simd::Add(m[1], m[2]));
  odd = Simd::Sub(Simd::Sub(m[1], m[2]), m[3]);
}

// One tile, one register of channels: kPoints^3 products to outputs [z][y][x].
template <int kPoints>
void ReduceTile(const float* products, int64_t point_stride, Simd::V (&out)[2][2][2]) {
  using V = Simd::V;
  V planes[2][2][kPoints];  // [y][x][z point]
  for (int pz = 0; pz < kPoints; ++pz) {
    V rows[2][kPoints];  // [x][y point]
    for (int py = 0; py < kPoints; ++py) {
      V line[kPoints];
      for (int px = 0; px < kPoints; ++px) {
        line[px] = Simd::Load(products + ((pz * kPoints + py) * kPoints + px) * point_stride);
      }
      Reduce(line, rows[0][py], rows[1][py]);
    }
    for (int x = 0; x < 2; ++x) Reduce(rows[x], planes[0][x][pz], planes[1][x][pz]);
  }
  for (int y = 0; y < 2; ++y) {
    for (int x = 0; x < 2; ++x) Reduce(planes[y][x], out[0][y][x], out[1][y][x]);
  }
}

// One register of channels of a whole block, so that the statistics stay in registers.
template <int kPoints>
void TransformOutputChannels(const Block& block, const float* products, int64_t point_stride,
                             Simd::V bias, int64_t c, const BlockOutput& out) {
  Simd::V sum = Simd::Broadcast(0.0F);
  Simd::V squares = Simd::Broadcast(0.0F);
  const float* in = products + c;
  for (int64_t z = 0; z < block.tiles[0]; ++z) {
    for (int64_t y = 0; y < block.tiles[1]; ++y) {
      for (int64_t x = 0; x < block.tiles[2]; ++x, in += block.channels) {
        Simd::V tile[2][2][2];
        ReduceTile<kPoints>(in, point_stride, tile);
        for (int dz = 0; dz < 2; ++dz) {
          for (int dy = 0; dy < 2; ++dy) {
            for (int dx = 0; dx < 2; ++dx) {
              const Simd::V value = Simd::Add(tile[dz][dy][dx], bias);
              sum = Simd::Add(sum, value);
              squares = Simd::Fma(value, value, squares);
              if (out.voxels != nullptr) {
                Simd::Store(out.voxels + (2 * z + dz) * out.z_stride + (2 * y + dy) * out.y_stride +
                                (2 * x + dx) * block.channels + c,
                            value);
              }
            }
          }
        }
      }
    }
  }
  if (out.sum != nullptr) {
    Simd::Store(out.sum + c, sum);
    Simd::Store(out.sum_of_squares + c, squares);
  }
}

template <int kPoints>
void TransformOutput(const Block& block, const float* products, int64_t point_stride,
                     const float* bias, const BlockOutput& out) {
  for (int64_t c = 0; c < block.channels; c += Simd::kWidth) {
    TransformOutputChannels<kPoints>(block, products, point_stride, Simd::Load(bias + c), c, out);
  }
}

}  // namespace
}  // namespace synthvol::model
