// The discriminator (DESIGN section 5): spectrally normalised convolutions over a sub-volume, told
// where along depth the sub-volume lies; HA-GAN's second one judges the low-resolution volume.
//
// Not thread-safe (training forwards update the power vectors). Owns its parameters.
#ifndef SYNTHVOL_MODEL_NETS_DISCRIMINATOR_H_
#define SYNTHVOL_MODEL_NETS_DISCRIMINATOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/nets/layers.h"
#include "model/nets/network_shape.h"
#include "model/nets/parameter_set.h"
#include "model/nets/sub_volume.h"

namespace synthvol::model {

struct Judgement {
  // [N,1]: positive for real.
  at::Tensor logit;
  // [N,classes]; undefined for unconditional networks.
  at::Tensor class_logits;
};

// How a forward pass moves the power vectors of the spectral norm.
enum class PowerStep {
  // Evaluation: estimates from the kept vectors and leaves them.
  kNone,
  // Training: every vector moves by one iteration.
  kNext,
  // Training on another part of the batch that the last kNext began: the same weights again.
  kSame,
};

class Discriminator {
 public:
  explicit Discriminator(const NetworkShape& shape);

  ParameterSet& net() { return net_; }
  const ParameterSet& net() const { return net_; }

  // Judges a sub-volume [N,1,size/8,size,size] that lies at `place` and, for HA-GAN, the
  // low-resolution volume [N,1,e,e,e] (undefined for CRF-GAN).
  Judgement Judge(const at::Tensor& image, const at::Tensor& small, const SubVolume& place,
                  PowerStep step) const;

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
  // Returns the spectrally normalised weight of NAME.
  at::Tensor Weight(const std::string& name, PowerStep step) const;
  at::Tensor Convolve(const Layer& layer, const at::Tensor& input, PowerStep step) const;
  at::Tensor Linear(const std::string& name, const at::Tensor& input, PowerStep step) const;

  NetworkShape shape_;
  ParameterSet net_;
  // The power vectors from which the last kNext started.
  mutable std::map<std::string, at::Tensor> power_before_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_DISCRIMINATOR_H_
