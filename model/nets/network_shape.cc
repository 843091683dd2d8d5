#include "model/nets/network_shape.h"

namespace synthvol::model {

NetworkShape::NetworkShape(const ModelConfig& config)
    : ha_gan(config.architecture == Architecture::kHaGan),
      size(config.size),
      channels(config.channels),
      latent_dim(config.latent_dim),
      num_classes(config.num_classes),
      crf_nodes(config.crf_nodes) {}

int64_t NetworkShape::FirstDiscriminatorLayer() const {
  return size == 512 ? 0 : size == 256 ? 1 : size == 128 ? 2 : 3;
}

int64_t NetworkShape::FirstSubLayer() const { return size >= 256 ? 1 : size == 128 ? 2 : 3; }

}  // namespace synthvol::model
