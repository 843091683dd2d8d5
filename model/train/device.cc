#include "model/train/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/companion_library.h"
#include "base/version.h"

namespace synthvol::model {
namespace {

// Returns the number of GPUs that LibTorch can use.
int64_t CountGpus() {
  // Without a driver the libraries (gigabytes) need not be opened.
  if (!std::filesystem::exists("/dev/nvidiactl")) return 0;
  // The networks' matrix products are few and small: 8 MiB of workspace do where 32 and more are
  // cuBLAS's own choice. A fixed number of workspaces also gives the same bits every time.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:2", /*overwrite=*/0);
  setenv("CUBLASLT_WORKSPACE_SIZE", "8192", /*overwrite=*/0);
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) return 0;
  return at::globalContext().hasCUDA()
             ? static_cast<int64_t>(at::detail::getCUDAHooks().deviceCount())
             : 0;
}

// Training's kernels and graphs for GPUs; null until a GPU was found.
std::atomic<const TrainingCudaEntryPoints*> entry_points{nullptr};

absl::Status LoadKernels() {
  if (entry_points.load() != nullptr) return absl::OkStatus();
  const auto symbol = OpenCompanionLibrary(kTrainingCudaLibrary, kTrainingCudaEntryPoint);
  if (!symbol.ok()) return symbol.status();
  const auto* entry = reinterpret_cast<const TrainingCudaEntryPoints* (*)()>(*symbol)();
  if (absl::string_view(entry->build) != Build()) {
    return absl::FailedPreconditionError(absl::StrCat(kTrainingCudaLibrary, " is of build ",
                                                      entry->build, ", this program of ", Build()));
  }
  SetDeviceKernels(entry->kernels);
  entry_points.store(entry);
  return absl::OkStatus();
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
  if (index < count) {
    if (auto status = LoadKernels(); !status.ok()) return status;
    return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
  }
  if (automatic) return c10::Device(c10::kCPU);
  return absl::FailedPreconditionError(absl::StrCat("--device ", text, ": this machine has ", count,
                                                    " usable GPU(s); expected cpu or auto"));
}

std::unique_ptr<Recorder> MakeRecorder(const c10::Device& device) {
  const TrainingCudaEntryPoints* entry = entry_points.load();
  return device.is_cuda() && entry != nullptr ? entry->make_recorder(device) : nullptr;
}

}  // namespace synthvol::model
