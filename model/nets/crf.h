// The conditional random field of CRF-GAN: refines the discriminator's logit by the mutual
// similarity of the embedding's nodes, with ten mean-field steps (DESIGN section 5; after NCRF, Li
// and Ping 2018).
//
// Const use is thread-safe. Owns its parameter W.
#ifndef SYNTHVOL_MODEL_NETS_CRF_H_
#define SYNTHVOL_MODEL_NETS_CRF_H_

#include <ATen/core/Tensor.h>

#include "model/nets/network_shape.h"
#include "model/nets/parameter_set.h"

namespace synthvol::model {

class Crf {
 public:
  // Makes n = embedding slices nodes with W [1,n,n] zero.
  explicit Crf(const NetworkShape& shape);

  ParameterSet& net() { return net_; }
  const ParameterSet& net() const { return net_; }

  // Maps an embedding [N,2c,e,e,e] and logits [N,1] to refined logits [N,1].
  at::Tensor Refine(const at::Tensor& embedding, const at::Tensor& logits) const;

 private:
  NetworkShape shape_;
  ParameterSet net_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_CRF_H_
