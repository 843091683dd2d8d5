#include "model/inference/cpu_synthesizer.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/inference/convolution.h"
#include "model/inference/input_check.h"
#include "model/inference/last_layer.h"

namespace synthvol::model {
namespace {

// Rows of fc1 a piece.
constexpr int64_t kLinearRows = 512;
// Unused slabs of an output kind that are kept for the next.
constexpr int64_t kKeptSlabBytes = 32 << 20;

// Cores that this process may use.
int AvailableCores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

// One run through the layers. Lives on its caller's stack.
class CpuSynthesizer::Synthesis {
 public:
  Synthesis(CpuSynthesizer& owner, Workspace& workspace, const SynthesisInput& input,
            OutputKind kind, const SlabCallback& callback)
      : owner_(owner), workspace_(workspace), input_(input), kind_(kind), callback_(callback) {}

  absl::Status Run() {
    const std::vector<PackedConvolution>& layers = owner_.weights_.convolutions;
    ComputeFirst();
    for (size_t i = 0; i + 1 < layers.size(); ++i) {
      if (auto status = ComputeLayer(i); !status.ok()) return status;
    }
    const bool fast = owner_.options_.mode == RenderMode::kFast;
    ConvolutionCall last = CallOf(layers.size() - 1);
    const Activation features = last.out;
    // kBounded: a first pass for the statistics alone; planes are rendered again slab by slab.
    if (!fast) last.out.data = nullptr;
    RunBlocks(last, 0, last.layer->plan.BlocksAlong(0), parallel_);
    if (!stopped_.ok()) return stopped_;
    // The second pass still reads its input through the factors of the layer before.
    const size_t at = (layers.size() - 1) % 2;
    if (!FinishFactors(*last.layer, at)) return NotFinite(*last.layer);
    last.out.data = features.data;
    last.block_sums = nullptr;
    return RenderSlabs(last, {Scale(at), Shift(at)}, fast);
  }

 private:
  // Two sets of factors, so that one can be read while the next is made.
  float* Scale(size_t parity) { return workspace_.scale[parity].data(); }
  float* Shift(size_t parity) { return workspace_.shift[parity].data(); }

  ConvolutionCall CallOf(size_t i) {
    const PackedConvolution& layer = owner_.weights_.convolutions[i];
    const bool is_last = i + 1 == owner_.weights_.convolutions.size();
    ConvolutionCall call;
    call.kernels = &owner_.kernels_;
    call.layer = &layer;
    const int64_t in_size = layer.plan.in_size;
    const int64_t out_size = layer.plan.out_size();
    call.in = {workspace_.activations[i % 2].data(), in_size, layer.in_channels, in_size};
    call.out = {workspace_.activations[(i + 1) % 2].data(), out_size, layer.out_channels,
                is_last ? owner_.layout_.last_planes : out_size};
    if (i > 0) call.normalisation = {Scale((i - 1) % 2), Shift((i - 1) % 2)};
    call.block_sums = workspace_.block_sums.data();
    if (input_.precision == Precision::kBf16) call.bf16 = owner_.bf16_;
    return call;
  }

  // fc1: [latent, one-hot label] to [4,4,4][channels].
  void ComputeFirst() {
    const PackedLinear& first = owner_.weights_.first;
    float* inputs = workspace_.latent.data();
    std::fill(inputs, inputs + first.inputs, 0.0F);
    std::copy(input_.latent.begin(), input_.latent.end(), inputs);
    if (input_.class_label >= 0) inputs[owner_.config_.latent_dim + input_.class_label] = 1.0F;
    float* out = workspace_.activations[0].data();
    const bool bf16 = input_.precision == Precision::kBf16;
    const int64_t channels = Padded(owner_.weights_.plan.first_channels);
    const int64_t pieces = (first.outputs + kLinearRows - 1) / kLinearRows;
    parallel_(pieces, [&](int64_t piece, float*) {
      const int64_t end = std::min(first.outputs, (piece + 1) * kLinearRows);
      for (int64_t row = piece * kLinearRows; row < end; ++row) {
        const int64_t at = row * first.inputs;
        const float sum = bf16 ? owner_.bf16_->dot(first.bf16_rows() + at, inputs, first.inputs)
                               : owner_.kernels_.dot(first.rows.data() + at, inputs, first.inputs);
        // Row = channel * 64 + voxel.
        out[row % 64 * channels + row / 64] = sum + first.bias[static_cast<size_t>(row)];
      }
    });
  }

  absl::Status ComputeLayer(size_t i) {
    const ConvolutionCall call = CallOf(i);
    if (PreferredMode(*call.layer) == ConvolutionMode::kPhases) {
      RunPhases(call, workspace_.shared.data(), parallel_);
    } else {
      RunBlocks(call, 0, call.layer->plan.BlocksAlong(0), parallel_);
    }
    if (!stopped_.ok()) return stopped_;
    return FinishFactors(*call.layer, i % 2) ? absl::OkStatus() : NotFinite(*call.layer);
  }

  bool FinishFactors(const PackedConvolution& layer, size_t parity) {
    const auto count = static_cast<size_t>(layer.out_channels);
    return FinishNormalisation(layer, workspace_.block_sums.data(),
                               absl::MakeSpan(Scale(parity), count),
                               absl::MakeSpan(Shift(parity), count));
  }

  static absl::Status NotFinite(const PackedConvolution& layer) {
    return absl::InternalError(absl::StrCat("the output of tp_conv", layer.plan.number,
                                            " is not finite: the model's weights are too large"));
  }

  absl::Status RenderSlabs(const ConvolutionCall& last, Normalisation normalisation, bool fast) {
    const int64_t size = owner_.config_.size;
    const int64_t planes = last.out.size;
    const int64_t slab_planes = owner_.layout_.slab_planes;
    const int64_t block_planes = 2 * last.layer->plan.BlockOf(kPanel).tiles[0];
    LastLayerCall call;
    call.kernels = &owner_.kernels_;
    call.layer = &owner_.weights_.last;
    call.in = last.out;
    call.normalisation = normalisation;
    call.scale = ScaleOf(owner_.config_.window);
    // The first slab that holds a wanted slice; slabs lie at the same planes for every request.
    const int64_t start = input_.start_slice / (2 * slab_planes) * slab_planes;
    int64_t rendered = std::max<int64_t>(0, start - 1) / block_planes;
    for (int64_t z = start; z < planes; z += slab_planes) {
      const int64_t end = std::min(planes, z + slab_planes);
      if (!fast) {
        const int64_t needed = (std::min(planes, end + 1) + block_planes - 1) / block_planes;
        RunBlocks(last, rendered, needed, parallel_);
        rendered = needed;
      }
      if (auto status = PrepareSlab(call); !status.ok()) return status;
      RunLastLayer(call, z, end, parallel_);
      if (!stopped_.ok()) return stopped_;
      if (auto status = Deliver(2 * z, 2 * end, size); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  std::shared_ptr<Buffer>& OwnSlab() { return workspace_.slabs[static_cast<size_t>(kind_)]; }

  // Takes another slab when the last one was kept.
  absl::Status PrepareSlab(LastLayerCall& call) {
    if (OwnSlab() == nullptr) {
      auto taken = owner_.slab_pools_[static_cast<size_t>(kind_)]->Take();
      if (!taken.ok()) return taken.status();
      OwnSlab() = *std::move(taken);
    }
    if (kind_ == OutputKind::kUnit) {
      call.unit = OwnSlab()->data();
    } else {
      call.stored = reinterpret_cast<int16_t*>(OwnSlab()->data());
    }
    return absl::OkStatus();
  }

  absl::Status Deliver(int64_t first, int64_t end, int64_t size) {
    bool kept = false;
    Slab slab;
    slab.first_slice = std::max(first, input_.start_slice);
    slab.slice_count = end - slab.first_slice;
    const auto skip = static_cast<size_t>((slab.first_slice - first) * size * size);
    const auto count = static_cast<size_t>(slab.slice_count * size * size);
    if (kind_ == OutputKind::kUnit) {
      slab.unit = {OwnSlab()->data() + skip, count};
    } else {
      slab.stored = {reinterpret_cast<const int16_t*>(OwnSlab()->data()) + skip, count};
    }
    slab.keep = [this, &kept]() -> std::shared_ptr<const void> {
      kept = true;
      return OwnSlab();
    };
    absl::Status status = callback_(slab);
    if (kept) OwnSlab().reset();
    return status;
  }

  // Runs pieces on the pool. The caller's own pieces ask whether to go on; once the answer is no,
  // the pieces that are left do nothing.
  void RunParallel(int64_t count, absl::FunctionRef<void(int64_t, float*)> piece) {
    float* mine = workspace_.scratch.data();
    owner_.pool_->Run(count, mine, [&](int64_t index, float* scratch) {
      if (stop_.load(std::memory_order_relaxed)) return;
      if (scratch == mine && input_.interrupted) {
        if (auto status = input_.interrupted(); !status.ok()) {
          stopped_ = std::move(status);
          stop_.store(true, std::memory_order_relaxed);
          return;
        }
      }
      piece(index, scratch);
    });
  }

  CpuSynthesizer& owner_;
  Workspace& workspace_;
  const SynthesisInput& input_;
  const OutputKind kind_;
  const SlabCallback& callback_;
  // Written by the caller's thread only; the flag tells the others.
  absl::Status stopped_;
  std::atomic<bool> stop_{false};
  struct Runner {
    Synthesis* self;
    void operator()(int64_t count, absl::FunctionRef<void(int64_t, float*)> piece) const {
      self->RunParallel(count, piece);
    }
  };
  Runner parallel_{this};
};

CpuSynthesizer::CpuSynthesizer(const Checkpoint& checkpoint, const SynthesizerOptions& options,
                               const Kernels& kernels, const Bf16Kernels* bf16)
    : config_(checkpoint.config),
      digest_(checkpoint.digest),
      options_(options),
      kernels_(kernels),
      bf16_(bf16) {}

absl::StatusOr<std::unique_ptr<CpuSynthesizer>> CpuSynthesizer::Create(
    const Checkpoint& checkpoint, const SynthesizerOptions& options, const Kernels& kernels,
    const Bf16Kernels* bf16) {
  std::unique_ptr<CpuSynthesizer> made(new CpuSynthesizer(checkpoint, options, kernels, bf16));
  auto weights = PackGenerator(checkpoint, options.cpu_bf16 && bf16 != nullptr);
  if (!weights.ok()) return weights.status();
  made->weights_ = *std::move(weights);
  made->layout_ = MakeLayout(made->weights_, options.mode);
  for (size_t kind = 0; kind < made->slab_pools_.size(); ++kind) {
    made->slab_pools_[kind] = SlabPool::Create(made->layout_.slabs[kind], kKeptSlabBytes);
  }
  const int threads = options.threads > 0 ? options.threads : AvailableCores();
  auto pool = ThreadPool::Create(threads, made->layout_.scratch);
  if (!pool.ok()) return pool.status();
  made->pool_ = *std::move(pool);
  return made;
}

absl::Status CpuSynthesizer::CheckPrecision(Precision precision) const {
  if (precision == Precision::kFp32) return absl::OkStatus();
  if (precision == Precision::kTf32) {
    return absl::InvalidArgumentError("precision: tf32 is not supported on a CPU");
  }
  if (weights_.has_bf16) return absl::OkStatus();
  return absl::InvalidArgumentError(
      bf16_ == nullptr
          ? "precision: bf16 is not supported on this CPU, which lacks AVX512-BF16"
          : "precision: bf16 is not switched on: the model was loaded without bfloat16 weights");
}

absl::StatusOr<std::unique_ptr<Workspace>> CpuSynthesizer::TakeWorkspace() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      auto workspace = std::move(idle_.back());
      idle_.pop_back();
      return workspace;
    }
  }
  return Workspace::Allocate(layout_, slab_pools_);
}

void CpuSynthesizer::ReturnWorkspace(std::unique_ptr<Workspace> workspace) {
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(workspace));
}

absl::Status CpuSynthesizer::Synthesize(const SynthesisInput& input, OutputKind kind,
                                        const SlabCallback& callback) {
  if (auto status = CheckInput(config_, input); !status.ok()) return status;
  if (auto status = CheckPrecision(input.precision); !status.ok()) return status;
  auto workspace = TakeWorkspace();
  if (!workspace.ok()) return workspace.status();
  const absl::Status status = Synthesis(*this, **workspace, input, kind, callback).Run();
  ReturnWorkspace(*std::move(workspace));
  return status;
}

int64_t CpuSynthesizer::EstimateWorkspaceBytes(Precision) const { return layout_.Bytes(); }

int64_t CpuSynthesizer::WeightBytes() const {
  return weights_.Bytes() + (pool_->threads() - 1) * Buffer::BytesFor(layout_.scratch);
}

}  // namespace synthvol::model
