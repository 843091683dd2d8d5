// The generator of CRF-GAN and HA-GAN (DESIGN section 5): part one turns a latent into an
// embedding, part two renders image slices from embedding slices. HA-GAN adds a low-resolution
// branch.
//
// Not thread-safe (folded kernels are cached). Owns its parameters; copies share them.
#ifndef SYNTHVOL_MODEL_NETS_GENERATOR_H_
#define SYNTHVOL_MODEL_NETS_GENERATOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "model/nets/fused_kernels.h"
#include "model/nets/layers.h"
#include "model/nets/network_shape.h"
#include "model/nets/parameter_set.h"

namespace synthvol::model {

class Generator {
 public:
  // Registers zero parameters; fill them with Initialise or from a checkpoint.
  explicit Generator(const NetworkShape& shape);

  ParameterSet& net() { return net_; }
  const ParameterSet& net() const { return net_; }
  const NetworkShape& shape() const { return shape_; }
  void set_convolution_path(ConvolutionPath path) { path_ = path; }

  // Maps a latent [N,latent_dim] and, for conditional networks, one-hot labels [N,classes]
  // (undefined otherwise) to the embedding [N,2c,e,e,e]: Project, then EmbedProjected.
  at::Tensor Embed(const at::Tensor& latent, const at::Tensor& one_hot = {}) const;
  // The linear layer alone, [N,16c,4,4,4]: most of all weights, a trifle of the arithmetic.
  at::Tensor Project(const at::Tensor& latent, const at::Tensor& one_hot = {}) const;
  at::Tensor EmbedProjected(const at::Tensor& projected) const;

  // Renders embedding slices [N,2c,d,e,e] to an image [N,1,d*stride,size,size] on (-1, 1).
  at::Tensor Render(const at::Tensor& embedding) const;

  // Renders the low-resolution volume [N,1,e,e,e] of HA-GAN from the whole embedding.
  at::Tensor RenderSmall(const at::Tensor& embedding) const;

  // Forgets kernels folded so far: an iteration that is recorded must fold them itself.
  void DropFoldedKernels() const { folded_.clear(); }

 private:
  // Upsamples by two and convolves CONV, on the CPU or the plain path.
  at::Tensor UpsampleConvolve(const std::string& conv, const at::Tensor& input) const;
  // Convolves with tp_convNUMBER, upsampled or not, and applies bnNUMBER and ReLU.
  at::Tensor Stage(const std::string& number, const at::Tensor& input, bool upsample) const;

  // The same on a GPU, where a stage begins with the norm of the one before (fused_kernels.h):
  // takes and gives a convolution's output before its norm.
  NormReluInput DeviceStage(const std::string& number, const NormReluInput& before,
                            bool upsample) const;
  NormReluInput BeforeNorm(const std::string& number, const at::Tensor& map, bool phases) const;
  // Returns CONV's kernel folded to phases.
  at::Tensor PhaseKernel(const std::string& conv) const;

  NetworkShape shape_;
  ParameterSet net_;
  ConvolutionPath path_ = ConvolutionPath::kFast;

  struct Folded {
    uint32_t version = 0;
    at::ScalarType type = at::kFloat;  // of the convolution
    at::Tensor kernel;
  };
  // Kernels folded since the weights last changed; serves the phases in which the generator is
  // frozen. GPUs alone.
  mutable std::map<std::string, Folded> folded_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_GENERATOR_H_
