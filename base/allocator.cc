#include "base/allocator.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace synthvol {

void KeepFreedMemory() {
#ifdef __GLIBC__
  // The largest that glibc takes; weights of models are larger and come from the system.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  // What each arena may keep at its top: more than a heap of a thread's arena ever has, so that
  // none is given back in part.
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

}  // namespace synthvol
