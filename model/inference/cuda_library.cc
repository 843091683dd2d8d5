#include "model/inference/cuda_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/version.h"

namespace synthvol::model {
namespace {

// Opens the library in lib/ beside the program's own folder (installed, or in a build), else
// wherever the loader finds it. Never closed: CUDA's libraries do not survive that.
void* OpenSharedObject() {
  char program[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof(program));
  if (length > 0) {
    const std::string path(program, static_cast<size_t>(length));
    const std::string beside =
        absl::StrCat(path.substr(0, path.rfind('/')), "/../lib/", kCudaLibrary);
    if (access(beside.c_str(), F_OK) == 0) {
      return dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL);
    }
  }
  return dlopen(kCudaLibrary, RTLD_NOW | RTLD_LOCAL);
}

absl::StatusOr<const CudaEntryPoints*> OpenLibrary() {
  void* library = OpenSharedObject();
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
