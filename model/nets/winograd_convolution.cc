#include "model/nets/winograd_convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>

#include "model/kernels/winograd.h"

namespace synthvol::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Tiles that are multiplied at once: enough columns for a product to reach its rate, few enough for
// the cache.
constexpr int64_t kTiles = 128;
constexpr int64_t kLeastChannels = 16;
constexpr int64_t kLeastWidth = 16;

// Row r of the matrix gives the four points of tap r along one axis.
at::Tensor WeightMatrix1d() {
  return at::tensor({1.0F, 0.5F, 0.5F, 0.0F, 0.0F, 0.5F, -0.5F, 0.0F, 0.0F, 0.5F, 0.5F, 1.0F})
      .view({3, 4});
}

// Returns the [27,64] matrix that transforms the three axes of a kernel at once.
const at::Tensor& WeightMatrix() {
  static const at::Tensor* const matrix = [] {
    const at::Tensor axis = WeightMatrix1d();
    return new at::Tensor(at::kron(axis, at::kron(axis, axis)).contiguous());
  }();
  return *matrix;
}

// Rows between the channels of one point and those of the next. Without them all 64 points of a
// tile would lie a power of two apart, which is one place to a cache.
constexpr int64_t kPaddingRows = 1;

// Returns the points [64,O+padding,I] of a weight [O,I,3,3,3].
at::Tensor WeightPoints(const at::Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const int64_t inputs = weight.size(1);
  at::Tensor points =
      at::zeros({kWinogradPoints, outputs + kPaddingRows, inputs}, weight.options());
  points.narrow(1, 0, outputs)
      .copy_(at::matmul(WeightMatrix().t(), weight.reshape({-1, 27}).t())
                 .view({kWinogradPoints, outputs, inputs}));
  return points;
}

// The blocks of tiles of a batch of maps [N,C,D,H,W], in order.
struct Blocks {
  explicit Blocks(const at::Tensor& map)
      : grid{map.size(2), map.size(3), map.size(4)},
        rows_at_once(std::clamp<int64_t>(kTiles / (grid.width / 2), 1, grid.height / 2)),
        per_plane((grid.height / 2 + rows_at_once - 1) / rows_at_once),
        per_sample(per_plane * (grid.depth / 2)),
        count(per_sample * map.size(0)) {}

  int64_t Sample(int64_t block) const { return block / per_sample; }
  TileBlock operator[](int64_t block) const {
    const int64_t in_sample = block % per_sample;
    const int64_t first_row = (in_sample % per_plane) * rows_at_once;
    return {grid, in_sample / per_plane, first_row,
            std::min(rows_at_once, grid.height / 2 - first_row)};
  }
  // The largest of them.
  TileBlock Largest() const { return {grid, 0, 0, rows_at_once}; }

  GridShape grid;
  int64_t rows_at_once;
  int64_t per_plane;
  int64_t per_sample;
  int64_t count;
};

// What one thread works in; made anew only when blocks change their size.
class Workspace {
 public:
  explicit Workspace(const TileBlock& largest)
      : scratch_(new float[static_cast<size_t>(WinogradScratchFloats(largest))]) {}

  float* scratch() { return scratch_.get(); }

  // Transforms all channels of one sample's block; `points` becomes [64,C+padding,tiles].
  template <typename Transform>
  void ToPoints(const Transform& transform, const float* sample, int64_t channels,
                const TileBlock& block, at::Tensor& points) {
    Fit(points, channels, block.tiles());
    float* const to = points.mutable_data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      transform(sample + c * block.grid.voxels(), block, scratch(), to + c * block.tiles(),
                points.stride(0));
    }
  }

  static void Fit(at::Tensor& points, int64_t channels, int64_t tiles) {
    if (points.defined() && points.size(2) == tiles) return;
    points = at::empty({kWinogradPoints, channels + kPaddingRows, tiles}, at::kFloat);
  }

 private:
  const std::unique_ptr<float[]> scratch_;
};

// Convolves with the points of a weight, [64,O,I]; `bias` may be null.
at::Tensor Convolve(const at::Tensor& input, const at::Tensor& weight_points, const float* bias) {
  const Blocks blocks(input);
  const int64_t inputs = input.size(1);
  const int64_t outputs = weight_points.size(1) - kPaddingRows;
  at::Tensor output = at::empty(
      {input.size(0), outputs, input.size(2), input.size(3), input.size(4)}, input.options());
  const float* const from = input.const_data_ptr<float>();
  float* const to = output.mutable_data_ptr<float>();
  at::parallel_for(0, blocks.count, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;
    Workspace workspace(blocks.Largest());
    const int64_t voxels = blocks.grid.voxels();
    at::Tensor points;    // [64,I+padding,tiles]
    at::Tensor products;  // [64,O+padding,tiles]
    for (int64_t i = begin; i < end; ++i) {
      const TileBlock block = blocks[i];
      const int64_t tiles = block.tiles();
      workspace.ToPoints(WinogradInput, from + blocks.Sample(i) * inputs * voxels, inputs, block,
                         points);
      Workspace::Fit(products, outputs, tiles);
      at::bmm_out(products, weight_points, points.narrow(1, 0, inputs));
      const float* const out = products.const_data_ptr<float>();
      for (int64_t o = 0; o < outputs; ++o) {
        WinogradOutput(out + o * tiles, products.stride(0), block, bias == nullptr ? 0.0F : bias[o],
                       workspace.scratch(), to + (blocks.Sample(i) * outputs + o) * voxels);
      }
    }
  });
  return output;
}

// Returns the gradient of the weight [O,I,3,3,3].
at::Tensor WeightGradient(const at::Tensor& input, const at::Tensor& gradient) {
  const Blocks blocks(input);
  const int64_t inputs = input.size(1);
  const int64_t outputs = gradient.size(1);
  // A sum for each thread, over blocks that depend on nothing but the number of threads: the same
  // bits again and again.
  const int64_t parts = std::min<int64_t>(at::get_num_threads(), blocks.count);
  at::Tensor sums = at::zeros({parts, kWinogradPoints, outputs, inputs}, input.options());
  const float* const from = input.const_data_ptr<float>();
  const float* const down = gradient.const_data_ptr<float>();
  at::parallel_for(0, parts, 1, [&](int64_t first_part, int64_t last_part) {
    const at::NoGradGuard no_grad;
    Workspace workspace(blocks.Largest());
    const int64_t voxels = blocks.grid.voxels();
    at::Tensor in;   // [64,I+padding,tiles]
    at::Tensor out;  // [64,O+padding,tiles]
    for (int64_t part = first_part; part < last_part; ++part) {
      at::Tensor sum = sums.select(0, part);
      const int64_t end = blocks.count * (part + 1) / parts;
      for (int64_t i = blocks.count * part / parts; i < end; ++i) {
        workspace.ToPoints(WinogradInput, from + blocks.Sample(i) * inputs * voxels, inputs,
                           blocks[i], in);
        workspace.ToPoints(WinogradGradient, down + blocks.Sample(i) * outputs * voxels, outputs,
                           blocks[i], out);
        sum.baddbmm_(out.narrow(1, 0, outputs), in.narrow(1, 0, inputs).transpose(1, 2));
      }
    }
  });
  const at::Tensor points = sums.sum(0).view({kWinogradPoints, -1});  // [64,O*I]
  return at::matmul(points.t(), WeightMatrix().t()).view({outputs, inputs, 3, 3, 3});
}

class WinogradFunction : public torch::autograd::Function<WinogradFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const at::Tensor& bias) {
    context->save_for_backward({input, weight});
    return Convolve(input, WeightPoints(weight), bias.const_data_ptr<float>());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gradient = gradients[0].contiguous();
    variable_list result(3);
    if (context->needs_input_grad(0)) {
      // The transposed convolution is one with the kernel mirrored and its channels exchanged.
      const at::Tensor mirrored = saved[1].transpose(0, 1).flip({2, 3, 4});
      result[0] = Convolve(gradient, WeightPoints(mirrored), nullptr);
    }
    if (context->needs_input_grad(1)) result[1] = WeightGradient(saved[0], gradient);
    if (context->needs_input_grad(2)) result[2] = gradient.sum({0, 2, 3, 4});
    return result;
  }
};

}  // namespace

bool WinogradPays(const at::Tensor& input, const at::Tensor& weight) {
  const bool even = input.size(2) % 2 == 0 && input.size(3) % 2 == 0 && input.size(4) % 2 == 0;
  return even && input.device().is_cpu() && input.scalar_type() == at::kFloat &&
         !at::autocast::is_autocast_enabled(at::kCPU) && input.size(4) >= kLeastWidth &&
         weight.size(0) >= kLeastChannels && weight.size(1) >= kLeastChannels;
}

at::Tensor WinogradConvolve(const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias) {
  return WinogradFunction::apply(input.contiguous(), weight, bias);
}

}  // namespace synthvol::model
