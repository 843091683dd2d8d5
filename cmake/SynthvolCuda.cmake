# Whether CUDA is built (SYNTHVOL_CUDA: AUTO, ON, OFF) and with which nvcc. Included by model/ after SynthvolTorch.
# Sets SYNTHVOL_HAS_CUDA.
set(SYNTHVOL_HAS_CUDA OFF)
if(NOT SYNTHVOL_CUDA STREQUAL "OFF")
  find_program(SYNTHVOL_NVCC nvcc HINTS ${SYNTHVOL_CUDA_ROOT}/bin /usr/local/cuda/bin NO_CMAKE_FIND_ROOT_PATH)
  if(SYNTHVOL_NVCC AND EXISTS ${SYNTHVOL_TORCH_LIB_DIR}/libtorch_cuda.so)
    set(CMAKE_CUDA_COMPILER ${SYNTHVOL_NVCC} CACHE FILEPATH "nvcc")
    # The targets name their own; this only quietens CMake's check of the compiler.
    if(NOT CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80)
    endif()
    enable_language(CUDA)
    set(SYNTHVOL_HAS_CUDA ON)
  elseif(SYNTHVOL_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SYNTHVOL_CUDA=ON needs nvcc (looked in ${SYNTHVOL_CUDA_ROOT}/bin and PATH) and libtorch_cuda.so in ${SYNTHVOL_TORCH_LIB_DIR}")
  endif()
endif()
message(STATUS "CUDA shared object: ${SYNTHVOL_HAS_CUDA}")
