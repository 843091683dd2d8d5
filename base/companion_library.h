// Shared objects that a program opens only when it needs them (CUDA), found beside it.
//
// Thread-safe. What is opened is never closed: CUDA's libraries do not survive that.
#ifndef SYNTHVOL_BASE_COMPANION_LIBRARY_H_
#define SYNTHVOL_BASE_COMPANION_LIBRARY_H_

#include <string>

#include "absl/status/statusor.h"

namespace synthvol {

// Opens `library` in lib/ beside the program's own folder (installed, or in a build), else wherever
// the loader finds it, and returns its symbol `entry_point`. FAILED_PRECONDITION with the loader's
// reason.
absl::StatusOr<void*> OpenCompanionLibrary(const std::string& library,
                                           const std::string& entry_point);

}  // namespace synthvol

#endif  // SYNTHVOL_BASE_COMPANION_LIBRARY_H_
