#include "model/inference/cuda/device_convolution.h"

#include <ATen/ops/_convolution.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

namespace synthvol::model {
namespace {

// Copies each voxel's k^3 neighbours into a row: [1,C,n,n,n], channels-last, to [m^3, k^3 C], where
// m = n + 3 - k voxels a side, with a border of zeros.
at::Tensor Neighbours(const at::Tensor& in, int64_t k) {
  const int64_t channels = in.size(1);
  const int64_t extent = in.size(2) + 2;
  const int64_t out = extent - k + 1;
  const at::Tensor padded = at::zeros({extent, extent, extent, channels}, in.options());
  padded.narrow(0, 1, extent - 2)
      .narrow(1, 1, extent - 2)
      .narrow(2, 1, extent - 2)
      .copy_(in[0].permute({1, 2, 3, 0}));
  const int64_t row = extent * channels;
  const int64_t plane = extent * row;
  return padded
      .as_strided({out, out, out, k, k, k, channels},
                  {plane, row, channels, plane, row, channels, 1})
      .reshape({out * out * out, k * k * k * channels});
}

}  // namespace

at::Tensor ConvolveOnDevice(const at::Tensor& in, const DeviceConvolution& layer,
                            Precision precision) {
  const at::Tensor& kernel = precision == Precision::kBf16 ? layer.kernel_bf16 : layer.kernel;
  const int64_t k = kernel.size(2);
  const int64_t out_size = in.size(2) + 3 - k;
  const int64_t row = k * k * k * in.size(1);
  if (precision == Precision::kFp32 &&
      out_size * out_size * out_size * row * int64_t{sizeof(float)} <= kMostColumnBytes) {
    // The kernel is channels-last, so that its rows have the neighbours' order.
    const at::Tensor rows = kernel.permute({0, 2, 3, 4, 1}).reshape({kernel.size(0), row});
    return at::mm(Neighbours(in, k), rows.t())
        .view({1, out_size, out_size, out_size, kernel.size(0)})
        .permute({0, 4, 1, 2, 3});
  }
  // Deterministic and without timing runs: the same kernels, hence the same bytes, every time.
  const at::Tensor out = at::_convolution(
      in, kernel, std::nullopt, at::IntArrayRef{1, 1, 1}, at::IntArrayRef{1, 1, 1},
      at::IntArrayRef{1, 1, 1}, /*transposed=*/false, at::IntArrayRef{0, 0, 0}, /*groups=*/1,
      /*benchmark=*/false, /*deterministic=*/true, /*cudnn_enabled=*/true,
      /*allow_tf32=*/precision == Precision::kTf32);
  return out.contiguous(at::MemoryFormat::ChannelsLast3d);
}

}  // namespace synthvol::model
