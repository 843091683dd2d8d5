# LibTorch and the CUDA compiler, as scripts/setup unpacks them from wheels. Included by model/ only.
#
# Links libtorch_cpu.so and libc10.so directly: the libtorch.so stub drags CUDA in.
set(torch_root ${SYNTHVOL_LIBTORCH_ROOT})
if(NOT torch_root)
  set(torch_root ${SYNTHVOL_DEPS_DIR}/libtorch/torch)
endif()
if(NOT EXISTS ${torch_root}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "No LibTorch in ${torch_root}: run scripts/setup, or set SYNTHVOL_LIBTORCH_ROOT")
endif()
set(SYNTHVOL_CUDA_ROOT ${SYNTHVOL_DEPS_DIR}/libtorch/nvidia/cu13 CACHE PATH "Unpacked CUDA wheels")

add_library(synthvol_torch INTERFACE)
target_include_directories(synthvol_torch SYSTEM INTERFACE
  ${torch_root}/include ${torch_root}/include/torch/csrc/api/include)
# at::parallel_for is a header: without OpenMP it runs on one thread and says nothing. LibTorch's own runtime, so that there is
# one pool of threads.
target_compile_options(synthvol_torch INTERFACE -fopenmp)
target_link_libraries(synthvol_torch INTERFACE ${torch_root}/lib/libtorch_cpu.so ${torch_root}/lib/libc10.so
  ${torch_root}/lib/libgomp.so.1)
target_link_options(synthvol_torch INTERFACE
  "LINKER:-rpath-link,${SYNTHVOL_CUDA_ROOT}/lib" "LINKER:-rpath,${torch_root}/lib"
  "LINKER:-rpath,${SYNTHVOL_CUDA_ROOT}/lib" "LINKER:--disable-new-dtags")
set(SYNTHVOL_TORCH_LIB_DIR ${torch_root}/lib)
