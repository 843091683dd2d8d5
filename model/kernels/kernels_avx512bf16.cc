// The bfloat16 table. Compiled with its own instruction set: nothing but the headers below may be
// included, lest an inline function of a library be compiled for CPUs that cannot run it.
#include "model/kernels/simd_avx512.h"
// After the Simd type that it is written in; declares how a bfloat16 is stored, for what follows.
#include "model/kernels/multiply_bf16.inl"
// The users of that.
#include "model/kernels/input_transforms.inl"
#include "model/kernels/tables.h"

namespace synthvol::model {

const Bf16Kernels& Avx512Bf16Kernels() {
  static constexpr Bf16Kernels kTable{"avx512bf16", Multiply<uint16_t>, DotBf16,
                                      TransformInputUp<uint16_t>, TransformInputSame<uint16_t>};
  return kTable;
}

}  // namespace synthvol::model
