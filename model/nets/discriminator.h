// The discriminator (DESIGN section 5): spectrally normalised convolutions over a sub-volume, told
// where along depth the sub-volume lies; HA-GAN's second one judges the low-resolution volume.
//
// Not thread-safe (training forwards update the power vectors). Owns its parameters.
#ifndef SYNTHVOL_MODEL_NETS_DISCRIMINATOR_H_
#define SYNTHVOL_MODEL_NETS_DISCRIMINATOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/nets/layers.h"
#include "model/nets/network_shape.h"
#include "model/nets/parameter_set.h"

namespace synthvol::model {

struct Judgement {
  // [N,1]: positive for real.
  at::Tensor logit;
  // [N,classes]; undefined for unconditional networks.
  at::Tensor class_logits;
};

class Discriminator {
 public:
  explicit Discriminator(const NetworkShape& shape);

  ParameterSet& net() { return net_; }
  const ParameterSet& net() const { return net_; }

  // Judges a sub-volume [N,1,size/8,size,size] that starts at slice `crop` and, for HA-GAN, the
  // low-resolution volume [N,1,e,e,e] (undefined for CRF-GAN). With `training` every layer's power
  // vector moves by one iteration.
  Judgement Judge(const at::Tensor& image, const at::Tensor& small, int64_t crop,
                  bool training) const;

 private:
  struct Layer {
    std::string name;
    int64_t out;
    Triple kernel;
    Triple stride;
    Triple padding;
  };
  std::vector<Layer> Layers() const;
  std::vector<Layer> SubLayers() const;

  NetworkShape shape_;
  ParameterSet net_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_DISCRIMINATOR_H_
