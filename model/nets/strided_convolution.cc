#include "model/nets/strided_convolution.h"

#include <ATen/ATen.h>

#include <map>
#include <mutex>
#include <string>

namespace synthvol::model {
namespace {

// Element [tap][phase*2+position] along one axis: whether that position of that phase sums the tap.
at::Tensor PhaseMatrix1d() {
  return at::tensor({1.0F, 0.0F, 1.0F, 0.0F,   // w0: phase 0 position 0, phase 1 position 0
                     0.0F, 1.0F, 1.0F, 0.0F,   // w1
                     0.0F, 1.0F, 0.0F, 1.0F})  // w2
      .view({3, 4});
}

// Returns the [27, 8 phases * 8 positions] matrix that folds the three axes at once, on `device`.
// Kept: a copy to a GPU would wait for it.
at::Tensor PhaseMatrix(const at::Device& device) {
  static auto* const mutex = new std::mutex;
  static auto* const kept = new std::map<std::string, at::Tensor>;
  const std::lock_guard<std::mutex> lock(*mutex);
  at::Tensor& matrix = (*kept)[device.str()];
  if (!matrix.defined()) {
    const at::Tensor axis = PhaseMatrix1d();
    matrix = at::kron(axis, at::kron(axis, axis))  // [27, (a,pz,b,py,c,px)]
                 .view({27, 2, 2, 2, 2, 2, 2})
                 .permute({0, 1, 3, 5, 2, 4, 6})
                 .reshape({27, 64})
                 .to(device);
  }
  return matrix;
}

}  // namespace

at::Tensor FoldPhaseKernel(const at::Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const int64_t inputs = weight.size(1);
  return at::matmul(weight.reshape({outputs * inputs, 27}), PhaseMatrix(weight.device()))
      .view({outputs, inputs, 8, 8})  // [O,I,phase,position]
      .permute({2, 0, 3, 1})
      .contiguous()
      .view({8 * outputs, 2, 2, 2, inputs})
      .permute({0, 4, 1, 2, 3});
}

at::Tensor ConvolveBlocks(const at::Tensor& input, const at::Tensor& weight,
                          const at::Tensor& bias) {
  const int64_t samples = input.size(0);
  const int64_t channels = input.size(1);
  const int64_t outputs = weight.size(0);
  const at::Tensor padded = at::constant_pad_nd(input, {1, 1, 1, 1, 1, 1});
  const int64_t depth = padded.size(2) / 2;
  const int64_t height = padded.size(3) / 2;
  const int64_t width = padded.size(4) / 2;
  const at::Tensor blocks = padded.view({samples, channels, depth, 2, height, 2, width, 2})
                                .permute({0, 2, 4, 6, 3, 5, 7, 1})
                                .reshape({samples, depth, height, width, 8 * channels})
                                .permute({0, 4, 1, 2, 3});  // [N,8C,d,h,w], channels last
  const at::Tensor kernel = weight.view({outputs, channels, 2, 2, 2, 2, 2, 2})
                                .permute({0, 2, 4, 6, 3, 5, 7, 1})
                                .reshape({outputs, 2, 2, 2, 8 * channels})
                                .permute({0, 4, 1, 2, 3});
  return at::conv3d(blocks, kernel, bias);
}

}  // namespace synthvol::model
