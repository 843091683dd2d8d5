#include "model/inference/cuda_library.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/companion_library.h"
#include "base/version.h"

namespace synthvol::model {
namespace {

absl::StatusOr<const CudaEntryPoints*> OpenLibrary() {
  const auto symbol = OpenCompanionLibrary(kCudaLibrary, kCudaEntryPoint);
  if (!symbol.ok()) return symbol.status();
  const CudaEntryPoints* entry = reinterpret_cast<const CudaEntryPoints* (*)()>(*symbol)();
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
