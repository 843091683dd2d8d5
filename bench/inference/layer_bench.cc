// Times the CPU engine's layers one by one: what each takes alone, and, for those whose weights
// outweigh their voxels, a volume's share when eight volumes read the weights together. Eight
// volumes are as many voxels as one grid of twice the side, so that is what runs. Prints Markdown
// for docs/performance.md.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "base/command_line.h"
#include "model/checkpoint/checkpoint.h"
#include "model/inference/buffer.h"
#include "model/inference/convolution.h"
#include "model/inference/packed_weights.h"
#include "model/inference/thread_pool.h"
#include "model/kernels/kernels.h"

namespace synthvol::model {
namespace {

constexpr const char* kProgram = "synthvol-layer-bench";
constexpr int64_t kBatch = 8;
constexpr int64_t kLinearRows = 512;
// More than the caches hold: the weights come from memory, as they do between other layers.
constexpr int64_t kFlushFloats = 64 << 20;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The pool, the caller's scratch and what empties the caches.
struct Machine {
  std::unique_ptr<ThreadPool> pool;
  Buffer scratch_memory;
  float* scratch = nullptr;
  Buffer flush;
  int repeats = 0;
  // Null to measure float32.
  const Bf16Kernels* bf16 = nullptr;

  void operator()(int64_t count, absl::FunctionRef<void(int64_t, float*)> piece) const {
    pool->Run(count, scratch, piece);
  }
  // Returns the seconds of the fastest of `repeats` runs, each with cold caches.
  double Time(absl::FunctionRef<void()> run) {
    double best = 1e300;
    for (int i = 0; i < repeats; ++i) {
      for (int64_t at = 0; at < kFlushFloats; at += 16) flush.data()[at] += 1.0F;
      const double begin = Seconds();
      run();
      best = std::min(best, Seconds() - begin);
    }
    return best;
  }
};

// Buffers of one layer on a grid of `in_size` voxels a side.
struct LayerMemory {
  Buffer in, out, shared, sums;
  std::vector<float> scale, shift;
};

absl::StatusOr<double> TimeConvolution(PackedConvolution& layer, int64_t in_size,
                                       Machine& machine) {
  const int64_t own_size = std::exchange(layer.plan.in_size, in_size);
  const ConvolutionMode mode = PreferredMode(layer);
  const int64_t out_size = layer.plan.out_size();
  LayerMemory memory;
  for (const auto& [buffer, floats] :
       {std::pair{&memory.in, in_size * in_size * in_size * layer.in_channels},
        {&memory.out, out_size * out_size * out_size * layer.out_channels},
        {&memory.shared, std::max<int64_t>(1, SharedFloats(layer, mode))},
        {&memory.sums, BlockSumFloats(layer)}}) {
    auto allocated = Buffer::Allocate(floats);
    if (!allocated.ok()) return allocated.status();
    *buffer = *std::move(allocated);
    std::fill(buffer->data(), buffer->data() + floats, 0.25F);
  }
  memory.scale.assign(static_cast<size_t>(layer.in_channels), 1.0F);
  memory.shift.assign(static_cast<size_t>(layer.in_channels), 0.1F);
  ConvolutionCall call;
  call.kernels = &BestKernels();
  call.layer = &layer;
  call.in = {memory.in.data(), in_size, layer.in_channels, in_size};
  call.normalisation = {memory.scale.data(), memory.shift.data()};
  call.out = {memory.out.data(), out_size, layer.out_channels, out_size};
  call.block_sums = memory.sums.data();
  call.bf16 = machine.bf16;
  const double seconds = machine.Time([&] {
    if (mode == ConvolutionMode::kPhases) {
      RunPhases(call, memory.shared.data(), machine);
    } else {
      RunBlocks(call, 0, layer.plan.BlocksAlong(0), machine);
    }
  });
  layer.plan.in_size = own_size;
  return seconds;
}

// Times fc1 for `volumes` latents, each row of weights read once for all of them.
double TimeFirst(const PackedLinear& first, int64_t volumes, Machine& machine) {
  const std::vector<float> inputs(static_cast<size_t>(volumes * first.inputs), 0.5F);
  std::vector<float> outputs(static_cast<size_t>(volumes * first.outputs));
  return machine.Time([&] {
    machine((first.outputs + kLinearRows - 1) / kLinearRows, [&](int64_t piece, float*) {
      const int64_t end = std::min(first.outputs, (piece + 1) * kLinearRows);
      for (int64_t row = piece * kLinearRows; row < end; ++row) {
        for (int64_t v = 0; v < volumes; ++v) {
          const float* input = inputs.data() + v * first.inputs;
          const int64_t at = row * first.inputs;
          outputs[static_cast<size_t>(v * first.outputs + row)] =
              machine.bf16 != nullptr
                  ? machine.bf16->dot(first.bf16_rows() + at, input, first.inputs)
                  : BestKernels().dot(first.rows.data() + at, input, first.inputs);
        }
      }
    });
  });
}

// Totals of the table.
struct Totals {
  double alone = 0;
  double shared = 0;
};

void PrintRow(const std::string& name, double products, double weight_bytes, double alone,
              double shared, Totals& totals) {
  std::printf("| %s | %.2f | %.0f | %.2f | %.2f | %.0f | %.0f |\n", name.c_str(), products / 1e9,
              weight_bytes / 1e6, alone * 1e3, shared * 1e3, products / alone / 1e9,
              weight_bytes / alone / 1e9);
  std::fflush(stdout);
  totals.alone += alone;
  totals.shared += shared;
}

absl::Status Measure(const std::string& folder, int threads, int repeats, bool bf16) {
  if (bf16 && BestBf16Kernels() == nullptr) {
    return absl::InvalidArgumentError("--precision bf16: this CPU has no AVX512-BF16");
  }
  const auto checkpoint = OpenCheckpoint(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  if (auto status = CheckGeneratorWeights(*checkpoint); !status.ok()) return status;
  auto weights = PackGenerator(*checkpoint, bf16);
  if (!weights.ok()) return weights.status();
  int64_t scratch = 1;
  for (const PackedConvolution& layer : weights->convolutions) {
    scratch = std::max(scratch, ScratchFloats(layer, PreferredMode(layer)));
    scratch = std::max(scratch, ScratchFloats(layer, ConvolutionMode::kBlocks));
  }
  // Blocks of conv1 are larger on the grid of eight volumes.
  auto pool = ThreadPool::Create(threads, 2 * scratch);
  auto mine = Buffer::Allocate(2 * scratch);
  auto flush = Buffer::Allocate(kFlushFloats);
  if (!pool.ok()) return pool.status();
  if (!mine.ok()) return mine.status();
  if (!flush.ok()) return flush.status();
  float* const scratch_floats = mine->data();
  Machine machine{*std::move(pool),  *std::move(mine), scratch_floats,
                  *std::move(flush), repeats,          bf16 ? BestBf16Kernels() : nullptr};

  std::printf(
      "| %ld: layer | products, GFLOP | weights, MB | ms alone | ms a volume, 8 together | "
      "GFLOP/s alone | weights GB/s alone |\n|---|---|---|---|---|---|---|\n",
      static_cast<long>(checkpoint->config.size));
  Totals totals;
  const PackedLinear& first = weights->first;
  const double first_products = 2.0 * static_cast<double>(first.outputs * first.inputs);
  PrintRow("fc1", first_products, (bf16 ? 1 : 2) * first_products, TimeFirst(first, 1, machine),
           TimeFirst(first, kBatch, machine) / kBatch, totals);
  for (PackedConvolution& layer : weights->convolutions) {
    const int64_t size = layer.plan.in_size;
    const auto alone = TimeConvolution(layer, size, machine);
    if (!alone.ok()) return alone.status();
    double shared = *alone;
    if (PreferredMode(layer) == ConvolutionMode::kPhases) {
      const auto together = TimeConvolution(layer, 2 * size, machine);
      if (!together.ok()) return together.status();
      shared = *together / kBatch;
    }
    const double matrix = static_cast<double>(layer.in_channels * layer.out_channels);
    const double points = static_cast<double>(layer.plan.points());
    const double tiles = static_cast<double>(layer.plan.tiles());
    PrintRow("conv" + layer.plan.number, 2.0 * matrix * points * tiles * tiles * tiles,
             (bf16 && layer.has_bf16() ? 2.0 : 4.0) * matrix * points, *alone, shared, totals);
  }
  std::printf("| all | | | %.1f | %.1f | | |\n", totals.alone * 1e3, totals.shared * 1e3);
  return absl::OkStatus();
}

int Main(int argc, const char* const* argv) {
  CLI::App app("Times the layers of one model and prints Markdown.", kProgram);
  std::string model;
  int threads = 2;
  int repeats = 10;
  std::string precision = "fp32";
  app.add_option("--model", model, "checkpoint folder")->required();
  app.add_option("--threads", threads, "threads of a layer")->check(CLI::PositiveNumber);
  app.add_option("--repeats", repeats, "runs of a layer; the fastest counts")
      ->check(CLI::PositiveNumber);
  app.add_option("--precision", precision, "fp32 or bf16")->check(CLI::IsMember({"fp32", "bf16"}));
  if (const auto status = ParseCommandLine(app, argc, argv)) return *status;
  if (auto status = Measure(model, threads, repeats, precision == "bf16"); !status.ok()) {
    return ReportError(kProgram, status);
  }
  return kExitFine;
}

}  // namespace
}  // namespace synthvol::model

int main(int argc, char** argv) { return synthvol::model::Main(argc, argv); }
