// The generator on a GPU, behind the entry points of libsynthvol_cuda.so. ATen's exceptions end
// here.
#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/version.h"
#include "model/inference/cuda/device_context.h"
#include "model/inference/cuda/device_convolution.h"
#include "model/inference/cuda/device_weights.h"
#include "model/inference/cuda_library.h"
#include "model/inference/input_check.h"

namespace synthvol::model {
namespace {

// What cuDNN may take beside the tensors, until a run has shown what it does take.
constexpr int64_t kCudnnWorkspaceBytes = 512 << 20;
// The first compute capability with tensor cores for bf16 and TF32.
constexpr int kMinimumMajor = 8;

absl::Status OutOfMemory(const c10::Error& error) {
  // What the allocator keeps goes back to the device, so that it stays usable.
  try {
    ReturnCachedMemory();
  } catch (const c10::Error&) {  // NOLINT(bugprone-empty-catch)
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the GPU is out of memory: ", error.what_without_backtrace()));
}

// Runs `body`, which returns a status, and turns ATen's exceptions into one.
template <typename Body>
absl::Status CatchDeviceErrors(const Body& body) {
  try {
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    return OutOfMemory(error);
  } catch (const c10::AcceleratorError& error) {
    // Of the driver itself: pinned memory, a graph, a stream.
    if (error.get_error_code() == cudaErrorMemoryAllocation) return OutOfMemory(error);
    return absl::InternalError(absl::StrCat("GPU error: ", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("GPU error: ", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("GPU error: ", error.what()));
  }
}

// Device bytes of the network's tensors: the largest three that live at once, and the volume.
int64_t EstimateTensorBytes(const GeneratorPlan& plan, Precision precision) {
  const int64_t element = precision == Precision::kBf16 ? 2 : 4;
  int64_t peak = 0;
  const auto see = [&](const ConvolutionPlan& layer) {
    const int64_t in = layer.in_size * layer.in_size * layer.in_size * layer.in_channels;
    const int64_t out = layer.out_size() * layer.out_size() * layer.out_size() * layer.out_channels;
    const int64_t extent = layer.in_size + 1;
    const int64_t raw = layer.kind == ConvolutionKind::kUp
                            ? extent * extent * extent * 8 * layer.out_channels
                            : out;
    // Float products may copy each voxel's neighbours out first.
    const int64_t columns = precision == Precision::kFp32 ? kMostColumnBytes : 0;
    // The input and the normalised output share memory only when they fit one block.
    peak = std::max(peak, (in + raw + out) * element + columns);
  };
  for (const ConvolutionPlan& layer : plan.convolutions) see(layer);
  return peak + plan.size * plan.size * plan.size * 4;
}

class CudaSynthesizer : public Synthesizer {
 public:
  CudaSynthesizer(const Checkpoint& checkpoint, const SynthesizerOptions& options)
      : config_(checkpoint.config),
        digest_(checkpoint.digest),
        device_(options.device),
        weights_(Upload(checkpoint, options.device.index)) {}

  const ModelConfig& config() const override { return config_; }
  const std::string& digest() const override { return digest_; }
  const DeviceSpec& device() const override { return device_; }
  int64_t WeightBytes() const override { return weights_.Bytes(); }

  absl::Status CheckPrecision(Precision precision) const override {
    if (precision == Precision::kFp32) return absl::OkStatus();
    int major = 0;
    int minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_.index);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_.index);
    if (major >= kMinimumMajor) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "precision: ", precision == Precision::kBf16 ? "bf16" : "tf32",
        " is not supported on this GPU: compute capability 8.0 or newer expected, it has ", major,
        ".", minor));
  }

  absl::Status Synthesize(const SynthesisInput& input, OutputKind kind,
                          const SlabCallback& callback) override {
    if (auto status = CheckInput(config_, input); !status.ok()) return status;
    if (auto status = CheckPrecision(input.precision); !status.ok()) return status;
    return CatchDeviceErrors([&] {
      const c10::InferenceMode inference;
      const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_.index));
      // A context that throws goes with the exception; only a sound one is put back.
      const int64_t before = ReservedBytes();
      Lease lease = Take();  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): idle_ takes it
      absl::Status status = lease.context->Render(config_, input, kind, callback);
      lease.bytes += std::max<int64_t>(0, ReservedBytes() - before);
      Return(std::move(lease));
      return status;
    });
  }

  int64_t EstimateWorkspaceBytes(Precision precision) const override {
    const int64_t estimate =
        EstimateTensorBytes(weights_.plan, precision) * 5 / 4 + kCudnnWorkspaceBytes;
    return std::max(estimate, measured_.load(std::memory_order_relaxed));
  }

 private:
  // A context, and what the allocator has reserved for it so far.
  struct Lease {
    std::unique_ptr<DeviceContext> context;
    int64_t bytes = 0;
  };

  Lease Take() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        Lease lease = std::move(idle_.back());
        idle_.pop_back();
        return lease;
      }
    }
    return {std::make_unique<DeviceContext>(weights_, device_.index), 0};
  }

  void Return(Lease lease) {
    const std::lock_guard<std::mutex> lock(mutex_);
    measured_ = std::max(measured_.load(std::memory_order_relaxed), lease.bytes);
    idle_.push_back(std::move(lease));
  }

  // What the allocator holds of the device. It grows with a context's first run in a precision;
  // what others take in that moment is counted too, so that an estimate may be high but not low.
  int64_t ReservedBytes() const {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(
        static_cast<c10::DeviceIndex>(device_.index));
    return stats.reserved_bytes[0].current;
  }

  const ModelConfig config_;
  const std::string digest_;
  const DeviceSpec device_;
  const DeviceWeights weights_;
  std::atomic<int64_t> measured_{0};  // the most that a context has taken

  std::mutex mutex_;
  std::vector<Lease> idle_;  // guarded by mutex_
};

absl::StatusOr<int> CountDevices() {
  const auto count = static_cast<int>(c10::cuda::device_count());
  if (count == 0) return absl::FailedPreconditionError("no usable GPU on this machine");
  return count;
}

absl::StatusOr<std::unique_ptr<Synthesizer>> Load(const Checkpoint& checkpoint,
                                                  const SynthesizerOptions& options) {
  std::unique_ptr<Synthesizer> made;
  const absl::Status status = CatchDeviceErrors([&] {
    const c10::InferenceMode inference;
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(options.device.index));
    made = std::make_unique<CudaSynthesizer>(checkpoint, options);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return made;
}

}  // namespace
}  // namespace synthvol::model

extern "C" __attribute__((visibility("default"))) const synthvol::model::CudaEntryPoints*
synthvol_cuda_entry_points() {
  static const synthvol::model::CudaEntryPoints kEntryPoints{
      synthvol::Build(), synthvol::model::CountDevices, synthvol::model::Load};
  return &kEntryPoints;
}
