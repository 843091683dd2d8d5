#include "model/nets/fused_kernels.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <atomic>
#include <vector>

#include "model/nets/network_shape.h"

namespace synthvol::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::atomic<const FusedKernels*> device_kernels{nullptr};

const FusedKernels& KernelsOf(const at::Tensor& tensor) {
  if (tensor.device().is_cpu()) return PlainKernels();
  const FusedKernels* kernels = device_kernels.load();
  TORCH_CHECK(kernels != nullptr, "the kernels for GPU tensors are not loaded");
  return *kernels;
}

at::Tensor PlainForward(const NormReluInput& in) {
  const at::Tensor map = in.phases ? PhasesToMap(in.map) : in.map;
  return at::group_norm(map + in.shift.view({1, -1, 1, 1, 1}), kNormGroups, in.gamma, in.beta,
                        kNormEpsilon)
      .relu();
}

NormReluOutput PlainNormRelu(const NormReluInput& in) {
  return {PlainForward(in), at::empty({0}, in.map.options())};
}

at::Tensor PlainNormReluAgain(const NormReluInput& in, const at::Tensor& /*sums*/) {
  return PlainForward(in);
}

void PlainNormReluInPlace(const NormReluInput& in) { in.map.copy_(PlainForward(in)); }

NormReluGradients PlainNormReluBackward(const NormReluInput& in, const at::Tensor& /*sums*/,
                                        const at::Tensor& gradient) {
  const at::AutoGradMode with_graph(true);
  const auto leaf = [](const at::Tensor& t) { return t.detach().requires_grad_(true); };
  const NormReluInput leaves{leaf(in.map), leaf(in.shift), leaf(in.gamma), leaf(in.beta),
                             in.phases};
  const variable_list gradients = torch::autograd::grad(
      {PlainForward(leaves)}, {leaves.map, leaves.shift, leaves.gamma, leaves.beta}, {gradient});
  return {gradients[0], gradients[1], gradients[2], gradients[3]};
}

at::Tensor PlainTanhPhases(const at::Tensor& phases, const at::Tensor& shift) {
  return at::tanh(PhasesToMap(phases) + shift);
}

// Returns the slice of a map that belongs to a phase, and the slice of the phase that lies in the
// map.
at::Tensor MapOfPhase(const at::Tensor& map, int64_t phase) {
  return map.slice(2, phase >> 2 & 1, map.size(2), 2)
      .slice(3, phase >> 1 & 1, map.size(3), 2)
      .slice(4, phase & 1, map.size(4), 2);
}
at::Tensor InsideOfPhase(const at::Tensor& phases, int64_t phase, int64_t channels) {
  return phases.narrow(1, phase * channels, channels)
      .narrow(2, phase >> 2 & 1, phases.size(2) - 1)
      .narrow(3, phase >> 1 & 1, phases.size(3) - 1)
      .narrow(4, phase & 1, phases.size(4) - 1);
}

at::Tensor PlainTanhPhasesBackward(const at::Tensor& output, const at::Tensor& gradient) {
  at::Tensor phases = at::zeros(
      {output.size(0), 8, output.size(2) / 2 + 1, output.size(3) / 2 + 1, output.size(4) / 2 + 1},
      output.options());
  const at::Tensor flow = gradient * (1.0 - output * output);
  for (int64_t phase = 0; phase < 8; ++phase) {
    InsideOfPhase(phases, phase, 1).copy_(MapOfPhase(flow, phase));
  }
  return phases;
}

class NormReluFunction : public torch::autograd::Function<NormReluFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& map,
                            const at::Tensor& shift, const at::Tensor& gamma,
                            const at::Tensor& beta, bool phases) {
    const NormReluOutput output = KernelsOf(map).norm_relu({map, shift, gamma, beta, phases});
    context->save_for_backward({map, shift, gamma, beta, output.sums});
    context->saved_data["phases"] = phases;
    return output.map;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const NormReluGradients result = KernelsOf(saved[0]).norm_relu_backward(
        {saved[0], saved[1], saved[2], saved[3], context->saved_data["phases"].toBool()}, saved[4],
        gradients[0]);
    return {result.map, result.shift, result.gamma, result.beta, at::Tensor()};
  }
};

class NormReluConvolveFunction : public torch::autograd::Function<NormReluConvolveFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& map,
                            const at::Tensor& shift, const at::Tensor& gamma,
                            const at::Tensor& beta, const at::Tensor& kernel, bool phases,
                            int64_t stride, int64_t padding) {
    const NormReluOutput normalised = KernelsOf(map).norm_relu({map, shift, gamma, beta, phases});
    context->save_for_backward({map, shift, gamma, beta, kernel, normalised.sums});
    context->saved_data["phases"] = phases;
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    return at::conv3d(normalised.map, kernel, {}, stride, padding);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const NormReluInput in{saved[0], saved[1], saved[2], saved[3],
                           context->saved_data["phases"].toBool()};
    const at::Tensor& kernel = saved[4];
    const at::Tensor& sums = saved[5];
    const FusedKernels& kernels = KernelsOf(in.map);
    const auto triple = [context](const char* name) {
      return std::vector<int64_t>(3, context->saved_data[name].toInt());
    };
    const auto [flow, kernel_gradient, no_bias] = at::convolution_backward(
        gradients[0], kernels.norm_relu_again(in, sums), kernel, at::OptionalIntArrayRef(),
        triple("stride"), triple("padding"), {1, 1, 1}, /*transposed=*/false, {0, 0, 0},
        /*groups=*/1, {true, context->needs_input_grad(4), false});
    const NormReluGradients back = kernels.norm_relu_backward(in, sums, flow);
    return {back.map,        back.shift,   back.gamma,   back.beta,
            kernel_gradient, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

class TanhPhasesFunction : public torch::autograd::Function<TanhPhasesFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& phases,
                            const at::Tensor& shift) {
    at::Tensor output = KernelsOf(phases).tanh_phases(phases, shift);
    context->save_for_backward({output});
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor output = context->get_saved_variables()[0];
    const at::Tensor phases = KernelsOf(output).tanh_phases_backward(output, gradients[0]);
    at::Tensor shift;
    if (context->needs_input_grad(1)) {
      shift = phases.sum(at::IntArrayRef{0, 1, 2, 3, 4}, /*keepdim=*/false, at::kFloat).view({1});
    }
    return {phases, shift};
  }
};

}  // namespace

const FusedKernels& PlainKernels() {
  static constexpr FusedKernels kPlain{PlainNormRelu,        PlainNormReluAgain,
                                       PlainNormReluInPlace, PlainNormReluBackward,
                                       PlainTanhPhases,      PlainTanhPhasesBackward};
  return kPlain;
}

void SetDeviceKernels(const FusedKernels* kernels) { device_kernels.store(kernels); }

at::Tensor FusedNormRelu(const NormReluInput& in) {
  return NormReluFunction::apply(in.map, in.shift, in.gamma, in.beta, in.phases);
}

at::Tensor NormReluConvolve(const NormReluInput& in, const at::Tensor& kernel, int64_t stride,
                            int64_t padding) {
  return NormReluConvolveFunction::apply(in.map, in.shift, in.gamma, in.beta,
                                         kernel.to(in.map.scalar_type()), in.phases, stride,
                                         padding);
}

void FusedNormReluInPlace(const NormReluInput& in) {
  const at::NoGradGuard no_grad;
  KernelsOf(in.map).norm_relu_in_place(in);
}

at::Tensor FusedTanhPhases(const at::Tensor& phases, const at::Tensor& shift) {
  return TanhPhasesFunction::apply(phases, shift);
}

at::Tensor PhasesToMap(const at::Tensor& phases) {
  const int64_t channels = phases.size(1) / 8;
  at::Tensor map = at::zeros({phases.size(0), channels, 2 * (phases.size(2) - 1),
                              2 * (phases.size(3) - 1), 2 * (phases.size(4) - 1)},
                             phases.options());
  for (int64_t phase = 0; phase < 8; ++phase) {
    MapOfPhase(map, phase).copy_(InsideOfPhase(phases, phase, channels));
  }
  return map;
}

}  // namespace synthvol::model
