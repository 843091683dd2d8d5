#include <cstdlib>
#include <string_view>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/kernels/tables.h"

namespace synthvol::model {

std::vector<const Kernels*> AvailableKernels() {
  std::vector<const Kernels*> tables{&PortableKernels()};
  const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (has_avx2) tables.push_back(&Avx2Kernels());
  if (has_avx2 && __builtin_cpu_supports("avx512f") != 0) tables.push_back(&Avx512Kernels());
  return tables;
}

const Kernels& BestKernels() {
  static const Kernels& best = []() -> const Kernels& {
    const std::vector<const Kernels*> tables = AvailableKernels();
    const char* wanted = std::getenv("SYNTHVOL_CPU_KERNELS");
    for (const Kernels* table : tables) {
      if (wanted != nullptr && std::string_view(wanted) == table->name) return *table;
    }
    return *tables.back();
  }();
  return best;
}

const Bf16Kernels* BestBf16Kernels() {
  const bool has_bf16 =
      __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512bf16") != 0;
  return has_bf16 && &BestKernels() == &Avx512Kernels() ? &Avx512Bf16Kernels() : nullptr;
}

}  // namespace synthvol::model
