// The widths and strides of the network family, derived from a ModelConfig. With 32 channels they
// are the published networks (DESIGN section 5); every width scales with the channel count.
//
// Plain values.
#ifndef SYNTHVOL_MODEL_NETS_NETWORK_SHAPE_H_
#define SYNTHVOL_MODEL_NETS_NETWORK_SHAPE_H_

#include <cstdint>

#include "model/checkpoint/checkpoint.h"

namespace synthvol::model {

// Groups of every GroupNorm, and its epsilon.
inline constexpr int64_t kNormGroups = 8;
inline constexpr double kNormEpsilon = 1e-5;
// Slope of LeakyReLU in the discriminators.
inline constexpr double kLeakySlope = 0.2;
// Voxels a side of the generator's first feature map.
inline constexpr int64_t kSeedSize = 4;

struct NetworkShape {
  explicit NetworkShape(const ModelConfig& config);

  bool ha_gan = false;
  int64_t size = 64;
  int64_t channels = 32;
  int64_t latent_dim = 1024;
  int64_t num_classes = 0;
  CrfNodes crf_nodes = CrfNodes::kReleased;

  // Image voxels per embedding voxel along an axis: 4, at 512 8.
  int64_t Stride() const { return size / EmbeddingSize(); }
  int64_t EmbeddingSize() const { return size == 512 ? 64 : size / 4; }
  int64_t EmbeddingChannels() const { return 2 * channels; }
  // Slices of the sub-volume that training renders, in the image and in the embedding.
  int64_t SubVolumeSlices() const { return size / 8; }
  int64_t SubVolumeEmbeddingSlices() const { return SubVolumeSlices() / Stride(); }
  // Crops are uniform in 0..MaxCrop().
  int64_t MaxCrop() const { return size / 8 * 7; }
  // Width of the discriminator's widest layer (512 as published).
  int64_t DiscriminatorChannels() const { return 16 * channels; }
  // First convolution of the discriminator: 3 at 64, 2 at 128, 1 at 256, 0 at 512.
  int64_t FirstDiscriminatorLayer() const;
  // First convolution of the sub-encoder and of the second discriminator: 3 at 64, 2 at 128,
  // else 1.
  int64_t FirstSubLayer() const;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_NETWORK_SHAPE_H_
