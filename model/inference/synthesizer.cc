// Chooses the device: the CPU engine is linked in, the CUDA one is opened when it is asked for.
#include "model/synthesizer.h"

#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/inference/cpu_synthesizer.h"
#include "model/inference/cuda_library.h"

namespace synthvol::model {

absl::StatusOr<DeviceSpec> ParseDevice(const std::string& text) {
  if (text == "cpu") return DeviceSpec{};
  if (text == "auto") return CudaDeviceCount().value_or(0) > 0 ? DeviceSpec{true, 0} : DeviceSpec{};
  DeviceSpec device{true, 0};
  const std::string prefix = "cuda:";
  if (text != "cuda") {
    const char* end = text.data() + text.size();
    const bool has_prefix = text.starts_with(prefix) && text.size() > prefix.size();
    const auto parsed = has_prefix
                            ? std::from_chars(text.data() + prefix.size(), end, device.index)
                            : std::from_chars_result{text.data(), std::errc::invalid_argument};
    if (parsed.ec != std::errc() || parsed.ptr != end || device.index < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("device '", text, "': auto, cpu, cuda or cuda:INDEX expected"));
    }
  }
  auto count = CudaDeviceCount();
  if (!count.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("device '", text, "': ", count.status().message()));
  }
  if (device.index >= *count) {
    return absl::FailedPreconditionError(
        absl::StrCat("device '", text, "': this machine has ", *count, " GPUs"));
  }
  return device;
}

absl::StatusOr<std::unique_ptr<Synthesizer>> Synthesizer::Load(const std::string& folder,
                                                               const SynthesizerOptions& options) {
  auto checkpoint = OpenCheckpoint(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  if (auto status = CheckGeneratorWeights(*checkpoint); !status.ok()) return status;
  if (options.device.cuda) return LoadOnCuda(*checkpoint, options);
  auto made = CpuSynthesizer::Create(*checkpoint, options, BestKernels(), BestBf16Kernels());
  if (!made.ok()) return made.status();
  return std::unique_ptr<Synthesizer>(*std::move(made));
}

}  // namespace synthvol::model
