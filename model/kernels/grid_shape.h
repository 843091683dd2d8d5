// Extents of a map, as the kernels of training see them.
#ifndef SYNTHVOL_MODEL_KERNELS_GRID_SHAPE_H_
#define SYNTHVOL_MODEL_KERNELS_GRID_SHAPE_H_

#include <cstdint>

namespace synthvol::model {

// Voxels along each axis.
struct GridShape {
  int64_t depth;
  int64_t height;
  int64_t width;
  int64_t voxels() const { return depth * height * width; }
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_GRID_SHAPE_H_
