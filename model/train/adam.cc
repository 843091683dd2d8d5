#include "model/train/adam.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace synthvol::model {
namespace {

constexpr double kBeta1 = 0.0;
constexpr double kBeta2 = 0.999;
constexpr double kEpsilon = 1e-8;

}  // namespace

Adam::Adam(const ParameterSet& net, double learning_rate)
    : net_(net), learning_rate_(learning_rate) {
  for (const ParameterSet::Item& item : net_.parameters()) {
    second_moments_.push_back(at::zeros_like(item.tensor));
  }
}

void Adam::Step() {
  const at::NoGradGuard no_grad;
  ++steps_;
  std::vector<at::Tensor> parameters;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> moments;
  std::vector<at::Tensor> steps;
  const auto& items = net_.parameters();
  for (size_t i = 0; i < items.size(); ++i) {
    const at::Tensor& gradient = items[i].tensor.grad();
    if (!gradient.defined()) continue;
    parameters.push_back(items[i].tensor);
    gradients.push_back(gradient.contiguous());
    moments.push_back(second_moments_[i]);
    steps.push_back(at::full({}, static_cast<double>(steps_), second_moments_[i].options()));
  }
  // The first moments alias the gradients: m = 0*m + 1*g.
  at::_fused_adam_(parameters, gradients, gradients, moments, /*max_exp_avg_sqs=*/{}, steps,
                   learning_rate_, kBeta1, kBeta2, /*weight_decay=*/0.0, kEpsilon,
                   /*amsgrad=*/false, /*maximize=*/false);
  // The fused kernel does not count its change, on which kernels cached by version rely.
  for (const at::Tensor& parameter : parameters) parameter.unsafeGetTensorImpl()->bump_version();
  net_.DropGradients();
}

std::vector<ParameterSet::Item> Adam::Moments() const {
  std::vector<ParameterSet::Item> moments;
  const auto& items = net_.parameters();
  for (size_t i = 0; i < items.size(); ++i) {
    moments.push_back({items[i].name, second_moments_[i], 0});
  }
  return moments;
}

}  // namespace synthvol::model
