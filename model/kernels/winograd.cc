#include "model/kernels/winograd.h"

#include <algorithm>

#include "model/kernels/widest_vectors.h"

namespace synthvol::model {
namespace {

// A run of floats at each of the four points along an axis, `stride` apart.
struct Points {
  float* at;
  int64_t stride;
};

SYNTHVOL_INLINE void InputPoints(const float* d0, const float* d1, const float* d2, const float* d3,
                                 int64_t count, const Points& out) {
  float* p0 = out.at;
  float* p1 = p0 + out.stride;
  float* p2 = p1 + out.stride;
  float* p3 = p2 + out.stride;
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    p0[i] = d0[i] - d2[i];
    p1[i] = d1[i] + d2[i];
    p2[i] = d2[i] - d1[i];
    p3[i] = d1[i] - d3[i];
  }
}

SYNTHVOL_INLINE void GradientPoints(const float* g0, const float* g1, int64_t count,
                                    const Points& out) {
  float* p0 = out.at;
  float* p1 = p0 + out.stride;
  float* p2 = p1 + out.stride;
  float* p3 = p2 + out.stride;
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    p0[i] = g0[i];
    p1[i] = g0[i] + g1[i];
    p2[i] = g0[i] - g1[i];
    p3[i] = -g1[i];
  }
}

SYNTHVOL_INLINE void Outputs(const float* m, int64_t stride, int64_t count, float* y0, float* y1) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float m1 = m[i + stride];
    const float m2 = m[i + 2 * stride];
    y0[i] = m[i] + (m1 + m2);
    y1[i] = (m1 - m2) - m[i + 3 * stride];
  }
}

// One line of voxels to its points along x, [4][W/2]. `padded` has room for W + 2 floats.
SYNTHVOL_INLINE void InputLine(const float* line, int64_t width, float* padded, float* out) {
  padded[0] = 0.0F;
  std::copy(line, line + width, padded + 1);
  padded[width + 1] = 0.0F;
  const int64_t half = width / 2;
#pragma GCC ivdep
  for (int64_t t = 0; t < half; ++t) {
    const float d0 = padded[2 * t];
    const float d1 = padded[2 * t + 1];
    const float d2 = padded[2 * t + 2];
    const float d3 = padded[2 * t + 3];
    out[t] = d0 - d2;
    out[half + t] = d1 + d2;
    out[2 * half + t] = d2 - d1;
    out[3 * half + t] = d1 - d3;
  }
}

// The same for a line of gradients.
SYNTHVOL_INLINE void GradientLine(const float* line, int64_t width, float* out) {
  const int64_t half = width / 2;
#pragma GCC ivdep
  for (int64_t t = 0; t < half; ++t) {
    const float g0 = line[2 * t];
    const float g1 = line[2 * t + 1];
    out[t] = g0;
    out[half + t] = g0 + g1;
    out[2 * half + t] = g0 - g1;
    out[3 * half + t] = -g1;
  }
}

// The points along x of one line of products, [4][W/2], to a line of voxels.
SYNTHVOL_INLINE void OutputLine(const float* m, int64_t width, float bias, float* line) {
  const int64_t half = width / 2;
#pragma GCC ivdep
  for (int64_t t = 0; t < half; ++t) {
    const float m1 = m[half + t];
    const float m2 = m[2 * half + t];
    line[2 * t] = (m[t] + (m1 + m2)) + bias;
    line[2 * t + 1] = ((m1 - m2) - m[3 * half + t]) + bias;
  }
}

SYNTHVOL_INLINE void Input(const float* map, const TileBlock& block, float* scratch, float* points,
                           int64_t point_stride) {
  const auto [depth, height, width] = block.grid;
  const int64_t half = width / 2;
  const int64_t line_floats = 4 * half;
  const int64_t lines = 2 * block.rows + 2;
  float* padded = scratch;
  float* along_x = padded + width + 2;                 // [4][lines][4][W/2]
  float* along_y = along_x + 4 * lines * line_floats;  // [4 points of y][4 planes][4][W/2]
  for (int64_t k = 0; k < 4; ++k) {
    const int64_t z = 2 * block.plane - 1 + k;
    for (int64_t j = 0; j < lines; ++j) {
      const int64_t y = 2 * block.first_row - 1 + j;
      float* out = along_x + (k * lines + j) * line_floats;
      if (z < 0 || z >= depth || y < 0 || y >= height) {
        std::fill(out, out + line_floats, 0.0F);
      } else {
        InputLine(map + (z * height + y) * width, width, padded, out);
      }
    }
  }
  for (int64_t row = 0; row < block.rows; ++row) {
    for (int64_t k = 0; k < 4; ++k) {
      const float* d = along_x + (k * lines + 2 * row) * line_floats;
      InputPoints(d, d + line_floats, d + 2 * line_floats, d + 3 * line_floats, line_floats,
                  {along_y + k * line_floats, 4 * line_floats});
    }
    for (int64_t py = 0; py < 4; ++py) {
      for (int64_t px = 0; px < 4; ++px) {
        const float* d = along_y + py * 4 * line_floats + px * half;
        InputPoints(d, d + line_floats, d + 2 * line_floats, d + 3 * line_floats, half,
                    {points + (py * 4 + px) * point_stride + row * half, 16 * point_stride});
      }
    }
  }
}

SYNTHVOL_INLINE void Output(const float* points, int64_t point_stride, const TileBlock& block,
                            float bias, float* scratch, float* map) {
  const auto [depth, height, width] = block.grid;
  const int64_t half = width / 2;
  const int64_t line_floats = 4 * half;
  float* along_z = scratch;                        // [2 planes][4 points of y][4][W/2]
  float* along_y = along_z + 2 * 4 * line_floats;  // [2 planes][2 lines][4][W/2]
  for (int64_t row = 0; row < block.rows; ++row) {
    for (int64_t p = 0; p < 16; ++p) {
      float* out = along_z + p * half;
      Outputs(points + p * point_stride + row * half, 16 * point_stride, half, out,
              out + 4 * line_floats);
    }
    for (int64_t k = 0; k < 2; ++k) {
      float* out = along_y + k * 2 * line_floats;
      Outputs(along_z + k * 4 * line_floats, line_floats, line_floats, out, out + line_floats);
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t line = (2 * block.plane + k) * height + 2 * (block.first_row + row) + j;
        OutputLine(out + j * line_floats, width, bias, map + line * width);
      }
    }
  }
}

SYNTHVOL_INLINE void Gradient(const float* map, const TileBlock& block, float* scratch,
                              float* points, int64_t point_stride) {
  const auto [depth, height, width] = block.grid;
  const int64_t half = width / 2;
  const int64_t line_floats = 4 * half;
  float* along_x = scratch;                    // [2 lines][4][W/2]
  float* along_y = along_x + 2 * line_floats;  // [4 points of y][2 planes][4][W/2]
  for (int64_t row = 0; row < block.rows; ++row) {
    for (int64_t k = 0; k < 2; ++k) {
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t line = (2 * block.plane + k) * height + 2 * (block.first_row + row) + j;
        GradientLine(map + line * width, width, along_x + j * line_floats);
      }
      GradientPoints(along_x, along_x + line_floats, line_floats,
                     {along_y + k * line_floats, 2 * line_floats});
    }
    for (int64_t py = 0; py < 4; ++py) {
      for (int64_t px = 0; px < 4; ++px) {
        const float* g = along_y + py * 2 * line_floats + px * half;
        GradientPoints(g, g + line_floats, half,
                       {points + (py * 4 + px) * point_stride + row * half, 16 * point_stride});
      }
    }
  }
}

}  // namespace

int64_t WinogradScratchFloats(const TileBlock& block) {
  const int64_t width = block.grid.width;
  return width + 2 + 4 * (2 * block.rows + 2) * 2 * width + 16 * 2 * width;
}

void WinogradInput(const float* map, const TileBlock& block, float* scratch, float* points,
                   int64_t point_stride) {
  RunWithWidestVectors<Input>(map, block, scratch, points, point_stride);
}

void WinogradOutput(const float* points, int64_t point_stride, const TileBlock& block, float bias,
                    float* scratch, float* map) {
  RunWithWidestVectors<Output>(points, point_stride, block, bias, scratch, map);
}

void WinogradGradient(const float* map, const TileBlock& block, float* scratch, float* points,
                      int64_t point_stride) {
  RunWithWidestVectors<Gradient>(map, block, scratch, points, point_stride);
}

}  // namespace synthvol::model
