#include "model/train/cuda/device_fused_kernels.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "model/kernels/cuda/norm_relu.h"
#include "model/nets/network_shape.h"

namespace synthvol::model {
namespace {

static_assert(kDeviceGroups == kNormGroups);

constexpr auto kLast = at::MemoryFormat::ChannelsLast3d;

Element ElementOf(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kBFloat16,
              "expected float or bfloat16 on a GPU, found ", tensor.scalar_type());
  return tensor.scalar_type() == at::kFloat ? Element::kFloat : Element::kBf16;
}

const float* FloatsOf(const at::Tensor& vector) {
  TORCH_CHECK(vector.scalar_type() == at::kFloat && vector.is_contiguous(),
              "expected a contiguous vector of float");
  return vector.const_data_ptr<float>();
}

// Describes an input whose map is channels-last.
NormReluMap Describe(const NormReluInput& in) {
  const at::Tensor& map = in.map;
  const auto extent = [&](int64_t axis) {
    return static_cast<int>(in.phases ? 2 * (map.size(axis) - 1) : map.size(axis));
  };
  const int64_t channels = in.phases ? map.size(1) / 8 : map.size(1);
  TORCH_CHECK(channels % kDeviceGroups == 0, "channels: a multiple of ", kDeviceGroups,
              " expected, found ", channels);
  return {map.const_data_ptr(),
          ElementOf(map),
          in.phases,
          static_cast<int>(map.size(0)),
          static_cast<int>(channels),
          extent(2),
          extent(3),
          extent(4),
          FloatsOf(in.shift),
          FloatsOf(in.gamma),
          FloatsOf(in.beta)};
}

at::Tensor Doubles(int64_t count, const at::Tensor& like) {
  return at::empty({count}, like.options().dtype(at::kDouble));
}

// Returns the sums [N,2,C] of a map.
at::Tensor SumsOf(const NormReluMap& map, const at::Tensor& like) {
  const at::Tensor scratch = Doubles(NormReluScratch(map), like);
  at::Tensor sums = Doubles(int64_t{2} * map.samples * map.channels, like);
  C10_CUDA_CHECK(LaunchNormReluSums(map, scratch.data_ptr<double>(), sums.data_ptr<double>(),
                                    /*status=*/nullptr, c10::cuda::getCurrentCUDAStream()));
  return sums;
}

NormReluInput ChannelsLast(const NormReluInput& in) {
  NormReluInput last = in;
  last.map = in.map.contiguous(kLast);
  return last;
}

// Returns the normalised map.
at::Tensor Apply(const NormReluInput& in, const NormReluMap& map, const at::Tensor& sums) {
  at::Tensor output = at::empty({map.samples, map.channels, map.depth, map.height, map.width},
                                in.map.options(), kLast);
  C10_CUDA_CHECK(LaunchNormRelu(map, sums.const_data_ptr<double>(), output.data_ptr(),
                                c10::cuda::getCurrentCUDAStream()));
  return output;
}

NormReluOutput NormRelu(const NormReluInput& input) {
  const c10::cuda::CUDAGuard guard(input.map.device());
  const NormReluInput in = ChannelsLast(input);
  const NormReluMap map = Describe(in);
  const at::Tensor sums = SumsOf(map, in.map);
  return {Apply(in, map, sums), sums};
}

at::Tensor NormReluAgain(const NormReluInput& input, const at::Tensor& sums) {
  const c10::cuda::CUDAGuard guard(input.map.device());
  const NormReluInput in = ChannelsLast(input);
  return Apply(in, Describe(in), sums);
}

void NormReluInPlace(const NormReluInput& in) {
  const c10::cuda::CUDAGuard guard(in.map.device());
  TORCH_CHECK(!in.phases && in.map.is_contiguous(kLast), "expected a channels-last map");
  const NormReluMap map = Describe(in);
  const at::Tensor sums = SumsOf(map, in.map);
  C10_CUDA_CHECK(LaunchNormRelu(map, sums.const_data_ptr<double>(), in.map.data_ptr(),
                                c10::cuda::getCurrentCUDAStream()));
}

NormReluGradients NormReluBackward(const NormReluInput& input, const at::Tensor& sums,
                                   const at::Tensor& gradient) {
  const c10::cuda::CUDAGuard guard(input.map.device());
  const NormReluInput in = ChannelsLast(input);
  const NormReluMap map = Describe(in);
  const at::Tensor flow = gradient.to(in.map.scalar_type()).contiguous(kLast);
  const at::Tensor scratch = Doubles(NormReluScratch(map), in.map);
  const at::Tensor back_sums = Doubles(int64_t{3} * map.samples * map.channels, in.map);
  NormReluGradients result{at::empty_like(in.map, in.map.options(), kLast),
                           at::empty_like(in.shift), at::empty_like(in.gamma),
                           at::empty_like(in.beta)};
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  C10_CUDA_CHECK(LaunchNormReluBackSums(map, sums.const_data_ptr<double>(), flow.const_data_ptr(),
                                        scratch.data_ptr<double>(), back_sums.data_ptr<double>(),
                                        stream));
  C10_CUDA_CHECK(LaunchNormReluBack(
      map, sums.const_data_ptr<double>(), back_sums.const_data_ptr<double>(), flow.const_data_ptr(),
      result.map.data_ptr(), result.shift.data_ptr<float>(), result.gamma.data_ptr<float>(),
      result.beta.data_ptr<float>(), stream));
  return result;
}

// The map [N,1,D,H,W] of the phases.
TanhMap DescribeTanh(const at::Tensor& map) {
  return {ElementOf(map), static_cast<int>(map.size(0)), static_cast<int>(map.size(2)),
          static_cast<int>(map.size(3)), static_cast<int>(map.size(4))};
}

at::Tensor TanhPhases(const at::Tensor& phases, const at::Tensor& shift) {
  const c10::cuda::CUDAGuard guard(phases.device());
  const at::Tensor from = phases.contiguous(kLast);
  at::Tensor output = at::empty({phases.size(0), 1, 2 * (phases.size(2) - 1),
                                 2 * (phases.size(3) - 1), 2 * (phases.size(4) - 1)},
                                phases.options());
  C10_CUDA_CHECK(LaunchTanhPhases(DescribeTanh(output), from.const_data_ptr(), FloatsOf(shift),
                                  output.data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return output;
}

at::Tensor TanhPhasesBackward(const at::Tensor& output, const at::Tensor& gradient) {
  const c10::cuda::CUDAGuard guard(output.device());
  const at::Tensor flow = gradient.to(output.scalar_type()).contiguous();
  at::Tensor phases = at::empty(
      {output.size(0), 8, output.size(2) / 2 + 1, output.size(3) / 2 + 1, output.size(4) / 2 + 1},
      output.options(), kLast);
  C10_CUDA_CHECK(LaunchTanhPhasesBack(DescribeTanh(output), output.const_data_ptr(),
                                      flow.const_data_ptr(), phases.data_ptr(),
                                      c10::cuda::getCurrentCUDAStream()));
  return phases;
}

}  // namespace

const FusedKernels& DeviceFusedKernels() {
  static constexpr FusedKernels kKernels{NormRelu,         NormReluAgain, NormReluInPlace,
                                         NormReluBackward, TanhPhases,    TanhPhasesBackward};
  return kKernels;
}

}  // namespace synthvol::model
