// The element types of the device's maps.
#ifndef SYNTHVOL_MODEL_KERNELS_CUDA_ELEMENT_H_
#define SYNTHVOL_MODEL_KERNELS_CUDA_ELEMENT_H_

namespace synthvol::model {

enum class Element { kFloat, kBf16 };

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_CUDA_ELEMENT_H_
