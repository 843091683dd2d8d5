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

# Every generation since Turing; PTX of the newest for what comes after.
set(SYNTHVOL_CUDA_ARCHITECTURES "75-real;80-real;86-real;89-real;90-real;100-real;120-real;120-virtual")

# synthvol_cuda_kernels(NAME SOURCES ...): a static library of .cu files that know no torch.
function(synthvol_cuda_kernels name)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_include_directories(${name} SYSTEM PUBLIC ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  # CMake 3.25 knows no newer standard for nvcc.
  set_target_properties(${name} PROPERTIES CUDA_STANDARD 17 CUDA_RUNTIME_LIBRARY Shared
    CUDA_ARCHITECTURES "${SYNTHVOL_CUDA_ARCHITECTURES}")
endfunction()

# synthvol_cuda_library(NAME SOURCES ... PRIVATE ...): a shared object beside LibTorch's CUDA half, opened at run time. Its entry
# point alone is exported; the static libraries inside are its own. CUDA's libraries that LibTorch needs (cuDNN, cuBLAS, ...)
# are looked up when it is opened.
function(synthvol_cuda_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PRIVATE" ${ARGN})
  add_library(${name} SHARED ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_PRIVATE} synthvol_torch
    ${SYNTHVOL_TORCH_LIB_DIR}/libtorch_cuda.so ${SYNTHVOL_TORCH_LIB_DIR}/libc10_cuda.so synthvol_warnings)
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_options(${name} PRIVATE "LINKER:--exclude-libs,ALL" "LINKER:--allow-shlib-undefined"
                      "LINKER:--unresolved-symbols=ignore-in-shared-libs")
endfunction()
