#include "model/nets/sub_volume.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace synthvol::model {

SubVolume::SubVolume(const NetworkShape& shape, int64_t first) : shape_(shape), first_(first) {}

SubVolume::SubVolume(const NetworkShape& shape, const at::Device& device)
    : shape_(shape),
      image_slices_(
          at::empty({shape.SubVolumeSlices()}, at::TensorOptions(at::kLong).device(device))),
      embedding_slices_(at::empty({shape.SubVolumeEmbeddingSlices()}, image_slices_.options())),
      fraction_(at::empty({1, 1}, at::TensorOptions(at::kFloat).device(device))) {
  MoveTo(0);
}

void SubVolume::MoveTo(int64_t first) {
  const at::NoGradGuard no_grad;
  first_ = first;
  const int64_t embedding_first = first / shape_.Stride();
  at::arange_out(image_slices_, first, first + shape_.SubVolumeSlices(), /*step=*/1);
  at::arange_out(embedding_slices_, embedding_first,
                 embedding_first + shape_.SubVolumeEmbeddingSlices(), /*step=*/1);
  fraction_.fill_(static_cast<double>(first) / static_cast<double>(shape_.MaxCrop()));
}

at::Tensor SubVolume::CutImage(const at::Tensor& images) const {
  return image_slices_.defined() ? images.index_select(2, image_slices_)
                                 : images.narrow(2, first_, shape_.SubVolumeSlices()).contiguous();
}

at::Tensor SubVolume::CutEmbedding(const at::Tensor& embedding) const {
  return embedding_slices_.defined()
             ? embedding.index_select(2, embedding_slices_)
             : embedding.narrow(2, first_ / shape_.Stride(), shape_.SubVolumeEmbeddingSlices());
}

at::Tensor SubVolume::Fraction(const at::Tensor& like, int64_t rows) const {
  if (fraction_.defined()) return fraction_.to(like.scalar_type()).expand({rows, 1});
  return at::full({rows, 1}, static_cast<double>(first_) / static_cast<double>(shape_.MaxCrop()),
                  like.options());
}

}  // namespace synthvol::model
