// What the phases of an iteration work on. Part of train_step.cc and train_phases.cc.
#ifndef SYNTHVOL_MODEL_TRAIN_TRAIN_STEP_PARTS_H_
#define SYNTHVOL_MODEL_TRAIN_TRAIN_STEP_PARTS_H_

#include <ATen/ATen.h>

#include "model/nets/sub_volume.h"
#include "model/train/train_step.h"

namespace synthvol::model {

struct TrainStep::Part {
  // Which volumes of a micro-batch, and what share their loss has in the iteration's.
  struct Place {
    int64_t first;
    int64_t count;
    double share;
    bool opens;   // no part of the micro-batch came before
    bool closes;  // none follows
  };

  Part(const MicroBatch& batch, const NetworkShape& shape, const SubVolume& cut_at, const Place& at)
      : place(at), sub_volume(cut_at) {
    const auto cut = [&at](const at::Tensor& tensor) {
      return tensor.defined() ? tensor.narrow(0, at.first, at.count) : tensor;
    };
    images = cut(batch.images);
    labels = cut(batch.labels);
    noise_discriminator = cut(batch.noise_discriminator);
    noise_generator = cut(batch.noise_generator);
    noise_crf = cut(batch.noise_crf);
    image = sub_volume.CutImage(images);
    if (labels.defined()) one_hot = at::one_hot(labels, shape.num_classes).to(at::kFloat);
    if (shape.ha_gan) {
      const int64_t step = shape.Stride();
      small = images.slice(2, 0, shape.size, step)
                  .slice(3, 0, shape.size, step)
                  .slice(4, 0, shape.size, step)
                  .contiguous();
    }
  }

  // All parts of a micro-batch see the weights of its first one.
  PowerStep power_step() const { return place.opens ? PowerStep::kNext : PowerStep::kSame; }

  Place place;
  SubVolume sub_volume;
  // As in MicroBatch, N being the part's volumes.
  at::Tensor images;
  at::Tensor labels;
  at::Tensor noise_discriminator;
  at::Tensor noise_generator;
  at::Tensor noise_crf;
  at::Tensor image;    // [N,1,size/8,size,size]
  at::Tensor small;    // [N,1,e,e,e], HA-GAN
  at::Tensor one_hot;  // [N,classes], conditional
};

struct TrainStep::Controls {
  SubVolume place;
  // The CRF's share and the rest of 1, [] float. Where it does not count its result is not used, so
  // it is not computed.
  at::Tensor crf_weight;
  at::Tensor other_weight;
  bool crf_counts;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_TRAIN_STEP_PARTS_H_
