#include "model/nets/parameter_set.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <numeric>
#include <utility>

namespace synthvol::model {

void ParameterSet::AddLayer(const std::string& name, std::vector<int64_t> shape) {
  const int64_t fan_in =
      std::accumulate(shape.begin() + 1, shape.end(), int64_t{1}, std::multiplies<>());
  const int64_t rows = shape[0];
  AddParameter(name + ".weight", std::move(shape));
  parameters_.back().fan_in = fan_in;
  AddParameter(name + ".bias", {rows});
  parameters_.back().fan_in = fan_in;
}

void ParameterSet::AddNorm(const std::string& name, int64_t channels) {
  AddParameter(name + ".weight", {channels});
  parameters_.back().tensor.fill_(1.0);
  AddParameter(name + ".bias", {channels});
}

void ParameterSet::AddParameter(const std::string& name, std::vector<int64_t> shape) {
  index_[name] = static_cast<int64_t>(parameters_.size());
  parameters_.push_back({name, at::zeros(shape, at::kFloat), 0});
}

void ParameterSet::AddPowerVector(const std::string& name, int64_t rows) {
  index_[name + ".u0"] = -1 - static_cast<int64_t>(buffers_.size());
  buffers_.push_back({name + ".u0", at::zeros({1, rows}, at::kFloat), 0});
}

void ParameterSet::Initialise(uint64_t seed) {
  const at::NoGradGuard no_grad;
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  for (const Item& item : parameters_) {
    if (item.fan_in == 0) continue;
    const double bound = 1.0 / std::sqrt(static_cast<double>(item.fan_in));
    item.tensor.copy_(
        at::empty(item.tensor.sizes(), at::kFloat).uniform_(-bound, bound, generator));
  }
  for (const Item& item : buffers_) {
    item.tensor.copy_(at::empty(item.tensor.sizes(), at::kFloat).normal_(0.0, 1.0, generator));
  }
}

const at::Tensor& ParameterSet::operator[](const std::string& name) const {
  const auto found = index_.find(name);
  TORCH_CHECK(found != index_.end(), "no tensor named ", name);
  return found->second >= 0 ? parameters_[static_cast<size_t>(found->second)].tensor
                            : buffers_[static_cast<size_t>(-1 - found->second)].tensor;
}

std::vector<ParameterSet::Item> ParameterSet::All() const {
  std::vector<Item> all = parameters_;
  all.insert(all.end(), buffers_.begin(), buffers_.end());
  return all;
}

int64_t ParameterSet::ParameterCount() const {
  int64_t count = 0;
  for (const Item& item : parameters_) count += item.tensor.numel();
  return count;
}

void ParameterSet::RequireGradients(bool on) const {
  for (const Item& item : parameters_) item.tensor.set_requires_grad(on);
}

void ParameterSet::DropGradients() const {
  for (const Item& item : parameters_) item.tensor.mutable_grad() = at::Tensor();
}

void ParameterSet::To(const at::Device& device) {
  for (Item& item : parameters_) item.tensor = item.tensor.to(device);
  for (Item& item : buffers_) item.tensor = item.tensor.to(device);
}

}  // namespace synthvol::model
