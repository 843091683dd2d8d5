// The face of the model room: a loaded generator that turns latents into volumes, slab by slab.
// Torch-free: spans and statuses only, so that the server compiles without it.
//
// A Synthesizer is immutable after Load and may be used from several threads; each call works in a
// workspace of its own (kept and reused, so that steady state allocates nothing). It owns weights
// and workspaces.
#ifndef SYNTHVOL_MODEL_SYNTHESIZER_H_
#define SYNTHVOL_MODEL_SYNTHESIZER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/checkpoint/checkpoint.h"

namespace synthvol::model {

enum class Precision { kFp32, kBf16, kTf32 };

// How part two is rendered. Both give the same voxels.
enum class RenderMode {
  // Keeps the feature map of the last stage: fastest.
  kFast,
  // Renders slab by slab from the embedding with statistics from a first pass: least memory.
  kBounded,
};

// Where a generator runs.
struct DeviceSpec {
  bool cuda = false;
  int index = 0;
};

// Parses "auto", "cpu", "cuda" or "cuda:I". INVALID_ARGUMENT for anything else; FAILED_PRECONDITION
// for a GPU that is not there. "auto" takes the first GPU, else the CPU.
absl::StatusOr<DeviceSpec> ParseDevice(const std::string& text);

struct SynthesizerOptions {
  DeviceSpec device;
  // Threads of one synthesis on the CPU; 0 takes all cores. The result does not depend on it.
  int threads = 0;
  RenderMode mode = RenderMode::kFast;
  // Also keeps weights in bfloat16, up to half as many bytes again, so that a CPU with AVX512-BF16
  // computes in Precision::kBf16. GPUs do without being asked; other CPUs ignore it.
  bool cpu_bf16 = false;
};

struct SynthesisInput {
  // Exactly latent_dim finite values.
  absl::Span<const float> latent;
  // Label for conditional generators, -1 otherwise.
  int64_t class_label = -1;
  Precision precision = Precision::kFp32;
  // First slice wanted (resume); statistics still cover the whole volume, so bytes stay the same.
  int64_t start_slice = 0;
  // Asked now and then on the caller's thread before and between slabs; a status other than OK ends
  // the synthesis and is returned from it. May be empty.
  std::function<absl::Status()> interrupted;
};

// A run of finished slices, in order; valid during the callback, and longer where it is kept.
struct Slab {
  int64_t first_slice = 0;
  int64_t slice_count = 0;
  // The one that was asked for is filled: [slice_count, size, size].
  absl::Span<const int16_t> stored;
  absl::Span<const float> unit;
  // Returns what keeps the voxels until it is let go of, by any thread and at any time; call it
  // during the callback. Empty where slabs cannot be kept.
  std::function<std::shared_ptr<const void>()> keep;
};

// Takes a slab. A status other than OK ends the synthesis within that slab and is returned from
// it: this is how cancellation works.
using SlabCallback = std::function<absl::Status(const Slab&)>;

enum class OutputKind {
  // int16 in stored units: the window applied, rounded (imaging::Window::ToStored).
  kStored,
  // float on [-1, 1].
  kUnit,
};

class Synthesizer {
 public:
  virtual ~Synthesizer() = default;

  // Loads a checkpoint folder and prepares folded weights. Errors name the file or tensor.
  static absl::StatusOr<std::unique_ptr<Synthesizer>> Load(const std::string& folder,
                                                           const SynthesizerOptions& options);

  virtual const ModelConfig& config() const = 0;
  // SHA-256 of the checkpoint, hexadecimal.
  virtual const std::string& digest() const = 0;
  virtual const DeviceSpec& device() const = 0;

  // INVALID_ARGUMENT, "precision: ...", when the device cannot compute in this precision or, on a
  // CPU, SynthesizerOptions::cpu_bf16 was not set for it.
  virtual absl::Status CheckPrecision(Precision precision) const = 0;

  // Renders one volume; blocks. CANCELLED (or whatever the callback returned), INVALID_ARGUMENT for
  // a bad input, RESOURCE_EXHAUSTED for device memory (the device stays usable), INTERNAL for
  // device errors.
  virtual absl::Status Synthesize(const SynthesisInput& input, OutputKind kind,
                                  const SlabCallback& callback) = 0;

  // Peak bytes of the device that one synthesis needs above the loaded weights.
  virtual int64_t EstimateWorkspaceBytes(Precision precision) const = 0;
  // Bytes of the device that the loaded weights take.
  virtual int64_t WeightBytes() const = 0;
};

// Returns torch.randn(1, dim, generator=torch.Generator().manual_seed(seed)) on CPU, bit for bit.
// INVALID_ARGUMENT for seeds beyond 2^32-1: that generator keeps 32 bits, so a larger seed would
// repeat.
absl::StatusOr<std::vector<float>> LatentFromSeed(uint64_t seed, int64_t dim);

// Interpolates on the great circle between two latents of equal length; fraction in [0, 1].
absl::StatusOr<std::vector<float>> MixLatents(absl::Span<const float> a, absl::Span<const float> b,
                                              double fraction);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_SYNTHESIZER_H_
