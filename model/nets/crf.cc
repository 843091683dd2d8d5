#include "model/nets/crf.h"

#include <ATen/ATen.h>

namespace synthvol::model {
namespace {

constexpr int kMeanFieldSteps = 10;
constexpr double kCosineEpsilon = 1e-6;

}  // namespace

Crf::Crf(const NetworkShape& shape) : shape_(shape) {
  net_.AddParameter("W", {1, shape.EmbeddingSize(), shape.EmbeddingSize()});
}

at::Tensor Crf::Refine(const at::Tensor& embedding, const at::Tensor& logits) const {
  const int64_t batch = embedding.size(0);
  const int64_t nodes = shape_.EmbeddingSize();
  // The released code cuts memory order into n rows, so a node is a group of channels; "depth"
  // makes it an axial slab, as the paper says.
  const at::Tensor ordered =
      shape_.crf_nodes == CrfNodes::kDepth ? embedding.transpose(1, 2) : embedding;
  const at::Tensor features = ordered.reshape({batch, nodes, -1});       // [N,n,F]
  const at::Tensor norm = at::norm(features, 2, {2}, /*keepdim=*/true);  // [N,n,1]
  const at::Tensor dot = at::bmm(features, features.transpose(1, 2));    // [N,n,n]
  const at::Tensor cosine = dot / (at::bmm(norm, norm.transpose(1, 2)) + kCosineEpsilon);
  const at::Tensor& w = net_["W"];
  const at::Tensor pairwise = cosine * ((w + w.transpose(1, 2)) / 2.0);  // [N,n,n]
  const at::Tensor unary = logits.unsqueeze(1).expand({-1, nodes, -1});  // [N,n,1]
  at::Tensor l = unary;
  for (int step = 0; step < kMeanFieldSteps; ++step) {
    // E_i = sum_j (2 q_j - 1) P_ij with q = sigmoid(l)
    const at::Tensor expectation = at::bmm(pairwise, 2.0 * l.sigmoid() - 1.0);
    l = unary + expectation;
  }
  return l.mean(1);
}

}  // namespace synthvol::model
