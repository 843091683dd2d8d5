// The avx512 table. Compiled with its own instruction set: nothing but the headers below may be
// included, lest an inline function of a library be compiled for CPUs that cannot run it.
#include "model/kernels/simd_avx512.h"
// After the Simd type that it is written in.
#include "model/kernels/table.inl"
#include "model/kernels/tables.h"

namespace synthvol::model {

const Kernels& Avx512Kernels() {
  static constexpr Kernels kTable = MakeTable("avx512");
  return kTable;
}

}  // namespace synthvol::model
