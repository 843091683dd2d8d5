// Counts the calls of operator new in a test program that links allocation_counter.cc. Thread-safe.
#ifndef SYNTHVOL_TESTS_MODEL_INFERENCE_ALLOCATION_COUNTER_H_
#define SYNTHVOL_TESTS_MODEL_INFERENCE_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace synthvol::model {

// Returns how often memory was asked for so far.
int64_t AllocationCount();

}  // namespace synthvol::model

#endif  // SYNTHVOL_TESTS_MODEL_INFERENCE_ALLOCATION_COUNTER_H_
