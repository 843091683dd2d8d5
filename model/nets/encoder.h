// The half-encoder, which maps image slices back to embedding slices, and HA-GAN's sub-encoder,
// which maps a whole embedding back to a latent (DESIGN section 5).
//
// Const use is thread-safe. Owns its parameters.
#ifndef SYNTHVOL_MODEL_NETS_ENCODER_H_
#define SYNTHVOL_MODEL_NETS_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <string>

#include "model/nets/fused_kernels.h"
#include "model/nets/layers.h"
#include "model/nets/network_shape.h"
#include "model/nets/parameter_set.h"

namespace synthvol::model {

class HalfEncoder {
 public:
  explicit HalfEncoder(const NetworkShape& shape);

  ParameterSet& net() { return net_; }
  const ParameterSet& net() const { return net_; }
  void set_convolution_path(ConvolutionPath path) { path_ = path; }

  // Encodes [N,1,d,size,size], a sub-volume or a whole volume, to [N,2c,d/stride,e,e].
  at::Tensor Encode(const at::Tensor& image) const;

  // Encodes whole volumes [N,1,size,size,size] without a graph, one after another, keeping one
  // feature map that layers change in place: a fraction of Encode's memory, the same values up to
  // rounding.
  at::Tensor EncodeWhole(const at::Tensor& images) const;

 private:
  // The output of conv NUMBER with the norm that follows.
  NormReluInput BeforeNorm(const std::string& number, const at::Tensor& map) const;
  // One volume [1,1,size,size,size], by a GPU's kernels or without; both in place, and conv2, the
  // largest, slab by slab.
  at::Tensor EncodeOnDevice(const at::Tensor& image) const;
  at::Tensor EncodeSlabWise(const at::Tensor& image) const;

  NetworkShape shape_;
  ParameterSet net_;
  ConvolutionPath path_ = ConvolutionPath::kFast;
};

class SubEncoder {
 public:
  explicit SubEncoder(const NetworkShape& shape);

  ParameterSet& net() { return net_; }
  const ParameterSet& net() const { return net_; }

  // Encodes an embedding [N,2c,e,e,e] to a latent [N,latent_dim].
  at::Tensor Encode(const at::Tensor& embedding) const;

 private:
  NetworkShape shape_;
  ParameterSet net_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_ENCODER_H_
