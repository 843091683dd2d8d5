// The C library's allocator, set for programs whose buffers of a megabyte come and go with every
// message.
#ifndef SYNTHVOL_BASE_ALLOCATOR_H_
#define SYNTHVOL_BASE_ALLOCATOR_H_

namespace synthvol {

// Keeps memory that was freed for the next who asks, up to a bound, instead of giving each megabyte
// back to the system and faulting it in again page by page, which costs more than copying it. For
// main(), before other threads start; where the C library has no such settings, nothing happens.
void KeepFreedMemory();

}  // namespace synthvol

#endif  // SYNTHVOL_BASE_ALLOCATOR_H_
