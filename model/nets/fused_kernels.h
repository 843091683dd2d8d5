// GroupNorm, ReLU, tanh and the bias before them, fused to one pass over the maps each way: what a
// GPU is made to wait for in plain PyTorch. A convolution's output comes without its bias, either
// as a map [N,C,D,H,W] or, after phase_convolution.h, as phases [N,8C,D+1,H+1,W+1] of a map
// [N,C,2D,2H,2W] that nobody has put in place yet.
//
// Phases: channel ((a*2+b)*2+c)*C+k at (z,y,x) is channel k of the map at (2z-a, 2y-b, 2x-c); what
// lies outside the map is not part of it.
//
// The functions are pure (but for the one that says so) and thread-safe. The plain ones run
// anywhere and are what the GPU's are compared with; GPU kernels come from a library of their own
// (model/train/cuda).
#ifndef SYNTHVOL_MODEL_NETS_FUSED_KERNELS_H_
#define SYNTHVOL_MODEL_NETS_FUSED_KERNELS_H_

#include <ATen/core/Tensor.h>

namespace synthvol::model {

struct NormReluInput {
  at::Tensor map;    // [N,C,D,H,W], or phases
  at::Tensor shift;  // [C], the convolution's bias
  at::Tensor gamma;  // [C]
  at::Tensor beta;   // [C]
  bool phases = false;
};

struct NormReluOutput {
  at::Tensor map;   // [N,C,D,H,W]
  at::Tensor sums;  // what the gradients need of the statistics
};

struct NormReluGradients {
  at::Tensor map;  // as NormReluInput::map
  at::Tensor shift;
  at::Tensor gamma;
  at::Tensor beta;
};

struct FusedKernels {
  // relu(gamma * normalise(map + shift) + beta), with the statistics of kNormGroups groups.
  NormReluOutput (*norm_relu)(const NormReluInput& input);
  // The same map again, from the sums of the first time.
  at::Tensor (*norm_relu_again)(const NormReluInput& input, const at::Tensor& sums);
  // The same for no phases, over input.map itself. Returns nothing else: there are no gradients.
  void (*norm_relu_in_place)(const NormReluInput& input);
  NormReluGradients (*norm_relu_backward)(const NormReluInput& input, const at::Tensor& sums,
                                          const at::Tensor& gradient);
  // tanh(map + shift) of phases [N,8,D+1,H+1,W+1], put in place: [N,1,2D,2H,2W].
  at::Tensor (*tanh_phases)(const at::Tensor& phases, const at::Tensor& shift);
  // The phases' gradient, from the map's and from what tanh_phases returned.
  at::Tensor (*tanh_phases_backward)(const at::Tensor& output, const at::Tensor& gradient);
};

// The plain functions, with PyTorch's own operators.
const FusedKernels& PlainKernels();

// Makes `kernels`, which live as long as the process, those of GPU tensors. Called once, before any
// network runs there.
void SetDeviceKernels(const FusedKernels* kernels);

// Applies NormRelu with gradients for all four tensors, by the kernels of the map's device.
at::Tensor FusedNormRelu(const NormReluInput& input);
// Applies NormRelu, then convolves with `kernel`, without a bias. Keeps the map alone for the
// backward pass, which makes the normalised one again: half the memory for one pass more.
at::Tensor NormReluConvolve(const NormReluInput& input, const at::Tensor& kernel, int64_t stride,
                            int64_t padding);
// Over input.map itself; no phases, no gradients.
void FusedNormReluInPlace(const NormReluInput& input);
// Applies tanh to phases [N,8,D+1,H+1,W+1] with gradients for both tensors.
at::Tensor FusedTanhPhases(const at::Tensor& phases, const at::Tensor& shift);

// Puts phases [N,8C,D+1,H+1,W+1] in place: [N,C,2D,2H,2W]. With gradients.
at::Tensor PhasesToMap(const at::Tensor& phases);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_FUSED_KERNELS_H_
