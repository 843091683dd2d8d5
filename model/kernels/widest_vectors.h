// One source for every instruction set: a function marked SYNTHVOL_INLINE is compiled into each of
// the variants here, and the widest that the CPU has is run.
#ifndef SYNTHVOL_MODEL_KERNELS_WIDEST_VECTORS_H_
#define SYNTHVOL_MODEL_KERNELS_WIDEST_VECTORS_H_

#define SYNTHVOL_INLINE [[gnu::always_inline]] inline

namespace synthvol::model {

template <auto kFunction, typename... Args>
[[gnu::target("avx512f,prefer-vector-width=512")]] void RunWithAvx512(Args... args) {
  kFunction(args...);
}

template <auto kFunction, typename... Args>
[[gnu::target("avx2")]] void RunWithAvx2(Args... args) {
  kFunction(args...);
}

// Calls kFunction(args...), compiled for the widest vectors that this CPU has. Pure but for what
// kFunction does; thread-safe as it is.
template <auto kFunction, typename... Args>
void RunWithWidestVectors(Args... args) {
  if (__builtin_cpu_supports("avx512f") != 0) {
    RunWithAvx512<kFunction>(args...);
  } else if (__builtin_cpu_supports("avx2") != 0) {
    RunWithAvx2<kFunction>(args...);
  } else {
    kFunction(args...);
  }
}

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_KERNELS_WIDEST_VECTORS_H_
