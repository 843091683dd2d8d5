#include "model/train/gradient_averager.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <utility>

namespace synthvol::model {
namespace {

// Large enough to hide a message's latency, small enough that the first sums start early.
constexpr int64_t kBucketElements = 4 << 20;

}  // namespace

// Tells the averager that a parameter's gradient of this pass is complete.
class GradientAverager::Hook : public torch::autograd::FunctionPostHook {
 public:
  Hook(GradientAverager& averager, Net& net, size_t bucket)
      : averager_(averager), net_(net), bucket_(bucket) {}

  torch::autograd::variable_list operator()(
      const torch::autograd::variable_list& outputs,
      const torch::autograd::variable_list& /*inputs*/) override {
    averager_.Ready(net_, bucket_);
    return outputs;
  }

 private:
  GradientAverager& averager_;
  Net& net_;
  const size_t bucket_;
};

GradientAverager::GradientAverager(Networks& networks, ProcessGroup& group) : group_(group) {
  for (auto& [letter, parameters] : networks.All()) {
    Net& net = nets_[letter];
    const auto& items = parameters->parameters();
    int64_t elements = kBucketElements;
    // The last layers' gradients come first.
    for (auto item = items.rbegin(); item != items.rend(); ++item) {
      if (elements >= kBucketElements) {
        net.buckets.emplace_back();
        elements = 0;
      }
      net.buckets.back().parameters.push_back(item->tensor);
      elements += item->tensor.numel();
    }
    // A parameter has the node that adds up its gradient only while it requires one.
    parameters->RequireGradients(true);
    for (size_t bucket = 0; bucket < net.buckets.size(); ++bucket) {
      for (const at::Tensor& parameter : net.buckets[bucket].parameters) {
        auto accumulator = torch::autograd::impl::grad_accumulator(parameter);
        accumulator->add_post_hook(std::make_unique<Hook>(*this, net, bucket));
        net.accumulators.push_back(std::move(accumulator));
      }
    }
    parameters->RequireGradients(false);
  }
}

GradientAverager::~GradientAverager() = default;

void GradientAverager::LastPass(const std::string& letter) {
  active_ = &nets_.at(letter);
  active_->started = 0;
  for (Bucket& bucket : active_->buckets) {
    bucket.missing = static_cast<int64_t>(bucket.parameters.size());
  }
}

void GradientAverager::Ready(Net& net, size_t bucket) {
  if (active_ != &net) return;
  --net.buckets[bucket].missing;
  // Sums start in the same order in every process.
  while (net.started < net.buckets.size() && net.buckets[net.started].missing <= 0) {
    Start(net.buckets[net.started++]);
  }
}

void GradientAverager::Start(Bucket& bucket) {
  if (!status_.ok()) return;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (const at::Tensor& parameter : bucket.parameters) {
    // What a phase does not use has no gradient, in any process.
    if (parameter.grad().defined()) parts.push_back(parameter.grad().reshape({-1}));
  }
  if (parts.empty()) return;
  bucket.flat = at::cat(parts);
  parts.clear();
  bucket.flat.div_(group_.place().world_size);
  int64_t offset = 0;
  for (const at::Tensor& parameter : bucket.parameters) {
    if (!parameter.grad().defined()) continue;
    parameter.mutable_grad() =
        bucket.flat.narrow(0, offset, parameter.numel()).view(parameter.sizes());
    offset += parameter.numel();
  }
  auto sum = group_.StartSum(bucket.flat);
  if (sum.ok()) {
    bucket.sum = *std::move(sum);
  } else {
    status_ = sum.status();
  }
}

void GradientAverager::Complete(const std::string& letter) {
  Net& net = nets_.at(letter);
  active_ = nullptr;
  // Buckets with a parameter that the last pass did not reach.
  while (net.started < net.buckets.size()) Start(net.buckets[net.started++]);
  for (Bucket& bucket : net.buckets) {
    if (bucket.sum != nullptr) status_.Update(bucket.sum->Wait());
    bucket.sum.reset();
    bucket.flat = at::Tensor();
  }
}

}  // namespace synthvol::model
