#include "model/train/adam.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace synthvol::model {
namespace {

constexpr double kBeta1 = 0.0;
constexpr double kBeta2 = 0.999;
constexpr double kEpsilon = 1e-8;

}  // namespace

Adam::Adam(const ParameterSet& net, double learning_rate) : net_(net), learning_rate_(-1.0) {
  for (const ParameterSet::Item& item : net_.parameters()) {
    second_moments_.push_back(at::zeros_like(item.tensor));
  }
  device_rate_ = at::empty({}, second_moments_.front().options());
  device_steps_ = at::empty({}, second_moments_.front().options());
  set_learning_rate(learning_rate);
  set_steps(0);
}

void Adam::set_learning_rate(double rate) {
  if (rate == learning_rate_) return;
  learning_rate_ = rate;
  device_rate_.fill_(rate);
}

void Adam::set_steps(int64_t steps) {
  steps_ = steps;
  device_steps_.fill_(steps);
}

void Adam::Step() {
  const at::NoGradGuard no_grad;
  ++steps_;
  device_steps_.add_(1);
  std::vector<at::Tensor> parameters;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> moments;
  const auto& items = net_.parameters();
  for (size_t i = 0; i < items.size(); ++i) {
    const at::Tensor& gradient = items[i].tensor.grad();
    if (!gradient.defined()) continue;
    parameters.push_back(items[i].tensor);
    gradients.push_back(gradient.contiguous());
    moments.push_back(second_moments_[i]);
  }
  const std::vector<at::Tensor> steps(parameters.size(), device_steps_);
  // The first moments alias the gradients: m = 0*m + 1*g.
  const auto step = [&](const auto& rate) {
    at::_fused_adam_(parameters, gradients, gradients, moments, /*max_exp_avg_sqs=*/{}, steps, rate,
                     kBeta1, kBeta2, /*weight_decay=*/0.0, kEpsilon, /*amsgrad=*/false,
                     /*maximize=*/false);
  };
  // The CPU's kernel would round the rate to float.
  device_rate_.is_cpu() ? step(learning_rate_) : step(device_rate_);
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
