// Where the sub-volume of an iteration lies. On a GPU the position can be kept on the device, so
// that an iteration recorded once serves every position.
//
// Cheap to copy; copies share the device's numbers. Not thread-safe.
#ifndef SYNTHVOL_MODEL_NETS_SUB_VOLUME_H_
#define SYNTHVOL_MODEL_NETS_SUB_VOLUME_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/nets/network_shape.h"

namespace synthvol::model {

class SubVolume {
 public:
  // The sub-volume that starts at image slice `first` (0..7/8 size), known to the host alone.
  SubVolume(const NetworkShape& shape, int64_t first);
  // One whose position lies on `device` and MoveTo changes; starts at 0.
  SubVolume(const NetworkShape& shape, const at::Device& device);

  // Moves a sub-volume of the second kind, for work enqueued from now on.
  void MoveTo(int64_t first);

  // Cuts its slices out of images [N,1,size,size,size].
  at::Tensor CutImage(const at::Tensor& images) const;
  // Cuts the slices that it is rendered from out of an embedding [N,2c,e,e,e].
  at::Tensor CutEmbedding(const at::Tensor& embedding) const;
  // Returns its position as a share of the largest, [rows,1], of `like`'s type and device.
  at::Tensor Fraction(const at::Tensor& like, int64_t rows) const;

 private:
  NetworkShape shape_;
  int64_t first_ = 0;
  // On the device, or undefined: the image's and the embedding's slices, int64, and the fraction
  // [1,1].
  at::Tensor image_slices_;
  at::Tensor embedding_slices_;
  at::Tensor fraction_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_SUB_VOLUME_H_
