#include "model/inference/cuda_library.h"

#include <dlfcn.h>

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/version.h"

namespace synthvol::model {
namespace {

absl::StatusOr<const CudaEntryPoints*> OpenLibrary() {
  // By name: found beside the program (its rpath) or on LD_LIBRARY_PATH. Never closed: CUDA's
  // libraries do not survive that.
  void* library = dlopen(kCudaLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("the CUDA library cannot be opened: ", dlerror()));
  }
  using Get = const CudaEntryPoints* (*)();
  const auto get = reinterpret_cast<Get>(dlsym(library, kCudaEntryPoint));
  if (get == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(kCudaLibrary, " does not export ", kCudaEntryPoint));
  }
  const CudaEntryPoints* entry = get();
  if (std::string_view(entry->build) != Build()) {
    return absl::FailedPreconditionError(
        absl::StrCat(kCudaLibrary, " is of build ", entry->build, ", this program of ", Build()));
  }
  return entry;
}

const absl::StatusOr<const CudaEntryPoints*>& Library() {
  static const auto* const library = new absl::StatusOr<const CudaEntryPoints*>(OpenLibrary());
  return *library;
}

}  // namespace

absl::StatusOr<int> CudaDeviceCount() {
  const auto& library = Library();
  if (!library.ok()) return library.status();
  return (*library)->device_count();
}

absl::StatusOr<std::unique_ptr<Synthesizer>> LoadOnCuda(const Checkpoint& checkpoint,
                                                        const SynthesizerOptions& options) {
  const auto& library = Library();
  if (!library.ok()) return library.status();
  return (*library)->load(checkpoint, options);
}

}  // namespace synthvol::model
