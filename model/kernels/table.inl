// The table of one instruction set. Included by kernels_*.cc after a Simd type.
#include "model/kernels/input_transforms.inl"
#include "model/kernels/kernels.h"
#include "model/kernels/last_layer.inl"
#include "model/kernels/multiply.inl"
#include "model/kernels/transforms.inl"

namespace synthvol::model {
namespace {

constexpr Kernels MakeTable(const char* name) {
  return {name,
          Multiply<float>,
          Dot,
          Normalise,
          TransformInputUp<float>,
          TransformInputSame<float>,
          TransformOutput<3>,
          TransformOutput<4>,
          PackRow,
          CombineColumns,
          Add3,
          FinishUnit,
          FinishStored};
}

}  // namespace
}  // namespace synthvol::model
