#include "base/companion_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>

#include "absl/strings/str_cat.h"

namespace synthvol {
namespace {

void* Open(const std::string& library) {
  char program[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof(program));
  if (length > 0) {
    const std::string path(program, static_cast<size_t>(length));
    const std::string beside = absl::StrCat(path.substr(0, path.rfind('/')), "/../lib/", library);
    if (access(beside.c_str(), F_OK) == 0) return dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  return dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
}

}  // namespace

absl::StatusOr<void*> OpenCompanionLibrary(const std::string& library,
                                           const std::string& entry_point) {
  void* const handle = Open(library);
  if (handle == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(library, " cannot be opened: ", dlerror()));
  }
  void* const symbol = dlsym(handle, entry_point.c_str());
  if (symbol == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(library, " does not export ", entry_point));
  }
  return symbol;
}

}  // namespace synthvol
