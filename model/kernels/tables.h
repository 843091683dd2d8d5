// The tables of each instruction set, whether or not this CPU runs them; kernels.h chooses.
#ifndef SYNTHVOL_MODEL_KERNELS_TABLES_H_
#define SYNTHVOL_MODEL_KERNELS_TABLES_H_

#include "model/kernels/kernels.h"

namespace synthvol::model {

const Kernels& PortableKernels();
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();
const Bf16Kernels& Avx512Bf16Kernels();

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_TABLES_H_
