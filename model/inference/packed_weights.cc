#include "model/inference/packed_weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "model/kernels/bf16.h"

namespace synthvol::model {
namespace {

constexpr int64_t kTaps = 27;
constexpr int64_t kMaxPoints = 64;

// The three taps along an axis to the factors of that axis's products (docs/inference.md).
void TransformAxis(ConvolutionKind kind, const double (&w)[3], double (&out)[4]) {
  if (kind == ConvolutionKind::kUp) {
    // even[i] = S x[i] - w0 (x[i] - x[i-1]), odd[i] = S x[i] + w2 (x[i+1] - x[i]).
    out[0] = -w[0];
    out[1] = w[0] + w[1] + w[2];
    out[2] = w[2];
    return;
  }
  // Winograd's F(2,3): G g.
  out[0] = w[0];
  out[1] = 0.5 * (w[0] + w[1] + w[2]);
  out[2] = 0.5 * (w[0] - w[1] + w[2]);
  out[3] = w[2];
}

// The 27 taps of one (output, input) pair to its points^3 factors.
void TransformKernel(ConvolutionKind kind, const float* taps, float (&out)[kMaxPoints]) {
  const int64_t p = PointsOf(kind);
  double line[4];
  double x[3][3][4];
  for (int z = 0; z < 3; ++z) {
    for (int y = 0; y < 3; ++y) {
      const float* t = taps + (z * 3 + y) * 3;
      TransformAxis(kind, {t[0], t[1], t[2]}, x[z][y]);
    }
  }
  double xy[3][4][4];
  for (int z = 0; z < 3; ++z) {
    for (int64_t px = 0; px < p; ++px) {
      TransformAxis(kind, {x[z][0][px], x[z][1][px], x[z][2][px]}, line);
      for (int64_t py = 0; py < p; ++py) xy[z][py][px] = line[py];
    }
  }
  for (int64_t py = 0; py < p; ++py) {
    for (int64_t px = 0; px < p; ++px) {
      TransformAxis(kind, {xy[0][py][px], xy[1][py][px], xy[2][py][px]}, line);
      for (int64_t pz = 0; pz < p; ++pz) {
        out[(pz * p + py) * p + px] = static_cast<float>(line[pz]);
      }
    }
  }
}

// Reads tensors by name; the first error is kept.
class TensorReader {
 public:
  explicit TensorReader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  absl::Span<const float> Read(const std::string& name, const std::vector<int64_t>& shape) {
    auto values = checkpoint_.weights.Floats(name, shape);
    if (values.ok()) return *values;
    if (status_.ok()) status_ = absl::InvalidArgumentError(values.status().message());
    return {};
  }
  std::vector<float> ReadVector(const std::string& name, int64_t count) {
    const auto values = Read(name, {count});
    return {values.begin(), values.end()};
  }
  const absl::Status& status() const { return status_; }

 private:
  const Checkpoint& checkpoint_;
  absl::Status status_;
};

absl::StatusOr<PackedLinear> PackFirst(TensorReader& reader, const GeneratorPlan& plan) {
  PackedLinear first;
  first.inputs = Padded(plan.latent_inputs);
  first.outputs = plan.first_channels * 64;
  const auto weights = reader.Read("fc1.weight", {first.outputs, plan.latent_inputs});
  first.bias = reader.ReadVector("fc1.bias", first.outputs);
  if (!reader.status().ok()) return reader.status();
  auto rows = Buffer::Allocate(first.outputs * first.inputs);
  if (!rows.ok()) return rows.status();
  first.rows = *std::move(rows);
  for (int64_t row = 0; row < first.outputs; ++row) {
    const float* from = weights.data() + row * plan.latent_inputs;
    std::copy(from, from + plan.latent_inputs, first.rows.data() + row * first.inputs);
  }
  return first;
}

// Which layers are computed in bfloat16 when that is asked for. conv1 would bring the largest error
// (Winograd over 512 channels, at the root of all) and save the least time: docs/inference.md.
bool TakesBf16(const ConvolutionPlan& plan) { return plan.number != "1"; }

// Memory for so many bfloat16 values.
absl::StatusOr<Buffer> AllocateBf16(int64_t values) { return Buffer::Allocate((values + 1) / 2); }

absl::Status AddBf16(PackedLinear& first) {
  const int64_t count = first.outputs * first.inputs;
  auto rows = AllocateBf16(count);
  if (!rows.ok()) return rows.status();
  first.bf16 = *std::move(rows);
  auto* to = reinterpret_cast<uint16_t*>(first.bf16.data());
  std::transform(first.rows.data(), first.rows.data() + count, to, ToBf16);
  return absl::OkStatus();
}

absl::StatusOr<PackedConvolution> PackConvolution(TensorReader& reader,
                                                  const ConvolutionPlan& plan) {
  PackedConvolution layer;
  layer.plan = plan;
  layer.in_channels = Padded(plan.in_channels);
  layer.out_channels = Padded(plan.out_channels);
  const std::string conv = "tp_conv" + plan.number;
  const std::string norm = "bn" + plan.number;
  const auto kernel = reader.Read(conv + ".weight", {plan.out_channels, plan.in_channels, 3, 3, 3});
  layer.bias = reader.ReadVector(conv + ".bias", plan.out_channels);
  layer.bias.resize(static_cast<size_t>(layer.out_channels), 0.0F);
  layer.gamma = reader.ReadVector(norm + ".weight", plan.out_channels);
  layer.beta = reader.ReadVector(norm + ".bias", plan.out_channels);
  if (!reader.status().ok()) return reader.status();
  auto panels = Buffer::Allocate(plan.points() * layer.in_channels * layer.out_channels);
  if (!panels.ok()) return panels.status();
  layer.panels = *std::move(panels);
  PackConvolutionKernel(kernel, layer);
  return layer;
}

absl::StatusOr<PackedLastLayer> PackLast(TensorReader& reader, const GeneratorPlan& plan) {
  PackedLastLayer last;
  last.in_channels = Padded(plan.last_in_channels);
  const auto kernel = reader.Read("tp_conv7.weight", {1, plan.last_in_channels, 3, 3, 3});
  const auto bias = reader.Read("tp_conv7.bias", {1});
  if (!reader.status().ok()) return reader.status();
  last.bias = bias[0];
  last.rows.assign(static_cast<size_t>(kTaps * last.in_channels), 0.0F);
  for (int64_t c = 0; c < plan.last_in_channels; ++c) {
    for (int64_t tap = 0; tap < kTaps; ++tap) {
      last.rows[static_cast<size_t>(tap * last.in_channels + c)] =
          kernel[static_cast<size_t>(c * kTaps + tap)];
    }
  }
  return last;
}

}  // namespace

int64_t PackedGenerator::Bytes() const {
  int64_t bytes = first.rows.bytes() + first.bf16.bytes() +
                  static_cast<int64_t>(first.bias.size() * sizeof(float));
  for (const PackedConvolution& layer : convolutions) {
    bytes += layer.panels.bytes() + layer.bf16.bytes() +
             3 * layer.out_channels * static_cast<int64_t>(sizeof(float));
  }
  return bytes + static_cast<int64_t>(last.rows.size() * sizeof(float));
}

void PackConvolutionKernel(absl::Span<const float> kernel, PackedConvolution& layer) {
  const ConvolutionPlan& plan = layer.plan;
  const int64_t points = plan.points();
  const int64_t point_stride = layer.panel_count() * layer.panel_stride();
  for (int64_t panel = 0; panel < layer.panel_count(); ++panel) {
    const int64_t columns = std::min(kPanel, plan.out_channels - panel * kPanel);
    for (int64_t in = 0; in < plan.in_channels; ++in) {
      float* to = layer.panels.data() + panel * layer.panel_stride() + in * kPanel;
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t pair = (panel * kPanel + column) * plan.in_channels + in;
        float factors[kMaxPoints];
        TransformKernel(plan.kind, kernel.data() + pair * kTaps, factors);
        for (int64_t p = 0; p < points; ++p) to[p * point_stride + column] = factors[p];
      }
    }
  }
}

absl::Status AddBf16(PackedConvolution& layer) {
  const int64_t pairs = layer.plan.points() * layer.out_channels / kPanel * layer.in_channels / 2;
  auto panels = AllocateBf16(pairs * 2 * kPanel);
  if (!panels.ok()) return panels.status();
  layer.bf16 = *std::move(panels);
  const float* from = layer.panels.data();
  auto* to = reinterpret_cast<uint16_t*>(layer.bf16.data());
  // Two inputs' weights side by side for each column: what one instruction multiplies and adds.
  for (int64_t pair = 0; pair < pairs; ++pair, from += 2 * kPanel, to += 2 * kPanel) {
    for (int64_t column = 0; column < kPanel; ++column) {
      to[2 * column] = ToBf16(from[column]);
      to[2 * column + 1] = ToBf16(from[kPanel + column]);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<PackedGenerator> PackGenerator(const Checkpoint& checkpoint, bool with_bf16) {
  PackedGenerator packed;
  packed.plan = MakePlan(checkpoint.config);
  TensorReader reader(checkpoint);
  auto first = PackFirst(reader, packed.plan);
  if (!first.ok()) return first.status();
  packed.first = *std::move(first);
  for (const ConvolutionPlan& plan : packed.plan.convolutions) {
    auto layer = PackConvolution(reader, plan);
    if (!layer.ok()) return layer.status();
    packed.convolutions.push_back(*std::move(layer));
  }
  auto last = PackLast(reader, packed.plan);
  if (!last.ok()) return last.status();
  packed.last = *std::move(last);
  packed.has_bf16 = with_bf16;
  if (!with_bf16) return packed;
  if (auto status = AddBf16(packed.first); !status.ok()) return status;
  for (PackedConvolution& layer : packed.convolutions) {
    if (!TakesBf16(layer.plan)) continue;
    if (auto status = AddBf16(layer); !status.ok()) return status;
  }
  return packed;
}

}  // namespace synthvol::model
