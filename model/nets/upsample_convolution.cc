#include "model/nets/upsample_convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "model/kernels/upsample_taps.h"

namespace synthvol::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kTaps = 27;
// Elements of the taps of the output channels that are computed at a time: 8 MB of float.
constexpr int64_t kTapElements = int64_t{2} << 20;
// Samples are multiplied together until so many columns: a weight is then worth reading.
constexpr int64_t kColumns = 1024;

// How the work is cut: by samples, and by output channels.
struct Cut {
  Cut(const at::Tensor& input, const at::Tensor& weight)
      : grid{input.size(2), input.size(3), input.size(4)},
        samples(input.size(0)),
        inputs(input.size(1)),
        outputs(weight.size(0)),
        samples_at_once(std::clamp<int64_t>(kColumns / grid.voxels(), 1, samples)),
        outputs_at_once(std::clamp<int64_t>(
            kTapElements / (kTaps * samples_at_once * grid.voxels()), 1, outputs)) {}

  GridShape grid;
  int64_t samples;
  int64_t inputs;
  int64_t outputs;
  int64_t samples_at_once;
  int64_t outputs_at_once;
};

// Returns samples first..first+count-1 of a map [N,C,D,H,W] as a matrix [C,count*D*H*W].
at::Tensor Columns(const at::Tensor& map, int64_t first, int64_t count) {
  return map.narrow(0, first, count).transpose(0, 1).reshape({map.size(1), -1});
}

// Returns the taps of output channels first..first+count-1 as a matrix [count*27,I].
at::Tensor TapRows(const at::Tensor& weight, int64_t first, int64_t count, at::ScalarType type) {
  return weight.narrow(0, first, count)
      .reshape({count, weight.size(1), kTaps})
      .transpose(1, 2)
      .to(type)
      .reshape({count * kTaps, weight.size(1)});
}

// Calls `channel(sample, output, scratch)` for all samples and output channels of a piece of work,
// on all threads.
template <typename Function>
void ForEachChannel(const Cut& cut, int64_t samples, int64_t outputs, const Function& channel) {
  at::parallel_for(0, samples * outputs, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(TapScratchFloats(cut.grid)));
    for (int64_t i = begin; i < end; ++i) channel(i / outputs, i % outputs, scratch.data());
  });
}

// Element type of the kernels for a type of ATen.
template <typename Function>
void WithTapType(at::ScalarType type, const Function& function) {
  if (type == at::kBFloat16) {
    function(uint16_t{});
  } else {
    function(float{});
  }
}

at::Tensor Forward(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                   at::ScalarType type) {
  const Cut cut(input, weight);
  const int64_t voxels = cut.grid.voxels();
  at::Tensor output = at::empty(
      {cut.samples, cut.outputs, 2 * cut.grid.depth, 2 * cut.grid.height, 2 * cut.grid.width},
      input.options());
  float* const out = output.mutable_data_ptr<float>();
  const float* const shift = bias.const_data_ptr<float>();
  for (int64_t n = 0; n < cut.samples; n += cut.samples_at_once) {
    const int64_t samples = std::min(cut.samples_at_once, cut.samples - n);
    const at::Tensor columns = Columns(input, n, samples).to(type);
    const int64_t stride = samples * voxels;
    at::Tensor taps = at::empty({cut.outputs_at_once * kTaps, stride}, columns.options());
    for (int64_t o = 0; o < cut.outputs; o += cut.outputs_at_once) {
      const int64_t outputs = std::min(cut.outputs_at_once, cut.outputs - o);
      at::Tensor rows = taps.narrow(0, 0, outputs * kTaps);
      at::mm_out(rows, TapRows(weight, o, outputs, type), columns);
      WithTapType(type, [&](auto element) {
        const auto* from = static_cast<const decltype(element)*>(rows.const_data_ptr());
        ForEachChannel(cut, samples, outputs, [&](int64_t s, int64_t c, float* scratch) {
          FoldTaps(from + c * kTaps * stride + s * voxels, stride, cut.grid, shift[o + c], scratch,
                   out + ((n + s) * cut.outputs + o + c) * 8 * voxels);
        });
      });
    }
  }
  return output;
}

struct Gradients {
  at::Tensor input;
  at::Tensor weight;
};

// Returns the gradients of what is wanted.
Gradients Backward(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& gradient,
                   bool wants_input, bool wants_weight, at::ScalarType type) {
  const Cut cut(input, weight);
  const int64_t voxels = cut.grid.voxels();
  Gradients result;
  if (wants_input) result.input = at::empty_like(input);
  if (wants_weight) result.weight = at::empty_like(weight);
  if (wants_weight && cut.samples > cut.samples_at_once) result.weight.zero_();
  const float* const from = gradient.const_data_ptr<float>();
  for (int64_t n = 0; n < cut.samples; n += cut.samples_at_once) {
    const int64_t samples = std::min(cut.samples_at_once, cut.samples - n);
    const int64_t stride = samples * voxels;
    const at::Tensor columns = wants_weight ? Columns(input, n, samples).to(type) : at::Tensor();
    const at::TensorOptions options = input.options().dtype(type);
    at::Tensor taps = at::empty({cut.outputs_at_once * kTaps, stride}, options);
    at::Tensor input_columns;  // [I,samples*D*H*W]
    if (wants_input) input_columns = at::zeros({cut.inputs, stride}, input.options());
    for (int64_t o = 0; o < cut.outputs; o += cut.outputs_at_once) {
      const int64_t outputs = std::min(cut.outputs_at_once, cut.outputs - o);
      at::Tensor rows = taps.narrow(0, 0, outputs * kTaps);
      WithTapType(type, [&](auto element) {
        auto* to = static_cast<decltype(element)*>(rows.mutable_data_ptr());
        ForEachChannel(cut, samples, outputs, [&](int64_t s, int64_t c, float* scratch) {
          UnfoldTaps(from + ((n + s) * cut.outputs + o + c) * 8 * voxels, cut.grid, scratch,
                     to + c * kTaps * stride + s * voxels, stride);
        });
      });
      if (wants_input) {
        const at::Tensor tap_rows = TapRows(weight, o, outputs, type);
        if (type == at::kFloat) {
          input_columns.addmm_(tap_rows.t(), rows);
        } else {
          input_columns.add_(at::mm(tap_rows.t(), rows));
        }
      }
      if (wants_weight) {
        const at::Tensor part = at::mm(rows, columns.t());  // [outputs*27,I]
        at::Tensor to = result.weight.narrow(0, o, outputs).view({outputs, cut.inputs, kTaps});
        const at::Tensor ordered = part.view({outputs, kTaps, cut.inputs}).transpose(1, 2);
        cut.samples > cut.samples_at_once ? to.add_(ordered) : to.copy_(ordered);
      }
    }
    if (wants_input) {
      const auto& g = cut.grid;
      result.input.narrow(0, n, samples)
          .copy_(input_columns.view({cut.inputs, samples, g.depth, g.height, g.width})
                     .transpose(0, 1));
    }
  }
  return result;
}

class UpsampleConvolution : public torch::autograd::Function<UpsampleConvolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const at::Tensor& bias, bool low_precision) {
    context->save_for_backward({input, weight});
    context->saved_data["low_precision"] = low_precision;
    return Forward(input, weight, bias, low_precision ? at::kBFloat16 : at::kFloat);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gradient = gradients[0].contiguous();
    const bool low_precision = context->saved_data["low_precision"].toBool();
    Gradients result =
        Backward(saved[0], saved[1], gradient, context->needs_input_grad(0),
                 context->needs_input_grad(1), low_precision ? at::kBFloat16 : at::kFloat);
    at::Tensor bias;
    if (context->needs_input_grad(2)) bias = gradient.sum({0, 2, 3, 4});
    return {result.input, result.weight, bias, at::Tensor()};
  }
};

}  // namespace

at::Tensor UpsampleConvolveTaps(const at::Tensor& input, const at::Tensor& weight,
                                const at::Tensor& bias) {
  const bool low_precision = at::autocast::is_autocast_enabled(at::kCPU) &&
                             at::autocast::get_autocast_dtype(at::kCPU) == at::kBFloat16;
  // The products choose their type themselves.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::DispatchKey::AutocastCPU);
  return UpsampleConvolution::apply(input.to(at::kFloat).contiguous(), weight, bias, low_precision);
}

}  // namespace synthvol::model
