// The generator on the CPU, torch-free (docs/inference.md).
//
// Thread-safe. Weights are constant after Create. Each synthesis takes a workspace from a list and
// puts it back, so that as many exist as ever ran at once; the threads are shared by all.
#ifndef SYNTHVOL_MODEL_INFERENCE_CPU_SYNTHESIZER_H_
#define SYNTHVOL_MODEL_INFERENCE_CPU_SYNTHESIZER_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/inference/packed_weights.h"
#include "model/inference/thread_pool.h"
#include "model/inference/workspace.h"
#include "model/kernels/kernels.h"
#include "model/synthesizer.h"

namespace synthvol::model {

class CpuSynthesizer : public Synthesizer {
 public:
  // Packs the weights of a checked checkpoint and starts the threads. `bf16` is null where the CPU
  // has no such instructions.
  static absl::StatusOr<std::unique_ptr<CpuSynthesizer>> Create(const Checkpoint& checkpoint,
                                                                const SynthesizerOptions& options,
                                                                const Kernels& kernels,
                                                                const Bf16Kernels* bf16);

  const ModelConfig& config() const override { return config_; }
  const std::string& digest() const override { return digest_; }
  const DeviceSpec& device() const override { return options_.device; }
  absl::Status CheckPrecision(Precision precision) const override;
  absl::Status Synthesize(const SynthesisInput& input, OutputKind kind,
                          const SlabCallback& callback) override;
  int64_t EstimateWorkspaceBytes(Precision precision) const override;
  int64_t WeightBytes() const override;

 private:
  class Synthesis;

  CpuSynthesizer(const Checkpoint& checkpoint, const SynthesizerOptions& options,
                 const Kernels& kernels, const Bf16Kernels* bf16);
  absl::StatusOr<std::unique_ptr<Workspace>> TakeWorkspace();
  void ReturnWorkspace(std::unique_ptr<Workspace> workspace);

  const ModelConfig config_;
  const std::string digest_;
  const SynthesizerOptions options_;
  const Kernels& kernels_;
  const Bf16Kernels* const bf16_;     // null where the CPU lacks it
  PackedGenerator weights_;           // constant after Create
  std::unique_ptr<ThreadPool> pool_;  // self-synchronised
  WorkspaceLayout layout_;            // constant after Create
  SlabPools slab_pools_;              // self-synchronised; outlived by slabs that are kept

  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // guarded by mutex_
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_CPU_SYNTHESIZER_H_
