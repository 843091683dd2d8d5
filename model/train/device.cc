#include "model/train/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <dlfcn.h>

#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace synthvol::model {
namespace {

// Returns the number of GPUs that LibTorch can use.
int64_t CountGpus() {
  // Without a driver the libraries (gigabytes) need not be opened.
  if (!std::filesystem::exists("/dev/nvidiactl")) return 0;
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) return 0;
  return at::globalContext().hasCUDA()
             ? static_cast<int64_t>(at::detail::getCUDAHooks().deviceCount())
             : 0;
}

}  // namespace

absl::StatusOr<c10::Device> FindDevice(const std::string& text, int64_t local_rank) {
  if (text == "cpu") return c10::Device(c10::kCPU);
  absl::string_view rest = text;
  int index = static_cast<int>(local_rank);
  const bool automatic = text == "auto";
  if (!automatic) {
    if (!absl::ConsumePrefix(&rest, "cuda") ||
        (!rest.empty() && (!absl::ConsumePrefix(&rest, ":") || !absl::SimpleAtoi(rest, &index) ||
                           index < 0 || index > 127))) {
      return absl::InvalidArgumentError(
          absl::StrCat("--device is '", text, "'; expected auto, cpu, cuda or cuda:INDEX"));
    }
  }
  const int64_t count = CountGpus();
  if (index < count) return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
  if (automatic) return c10::Device(c10::kCPU);
  return absl::FailedPreconditionError(absl::StrCat("--device ", text, ": this machine has ", count,
                                                    " usable GPU(s); expected cpu or auto"));
}

}  // namespace synthvol::model
