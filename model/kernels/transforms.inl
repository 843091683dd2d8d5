// GroupNorm+ReLU and the transforms behind the products of a convolution, docs/inference.md.
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
