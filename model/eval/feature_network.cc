#include "model/eval/feature_network.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv3d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/max_pool3d.h>

#include <array>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/checksum.h"
#include "model/checkpoint/hash_weights.h"
#include "model/checkpoint/safetensors.h"

namespace synthvol::model {
namespace {

constexpr const char* kArchitecture = "3D ResNet-50 (MedicalNet layout, shortcut B, GAP, 2048)";
constexpr uint64_t kRandomSalt = 0x5EED;
constexpr int64_t kLeastSize = 16;

// A convolution without bias and the batch normalisation behind it, folded into one.
struct Convolution {
  at::Tensor weight;  // [out, in, k, k, k]
  at::Tensor bias;    // [out]
  int64_t stride = 1;
  int64_t dilation = 1;

  at::Tensor operator()(const at::Tensor& x) const {
    const int64_t padding = weight.size(2) / 2 * dilation;
    const std::array<int64_t, 3> strides = {stride, stride, stride};
    const std::array<int64_t, 3> paddings = {padding, padding, padding};
    const std::array<int64_t, 3> dilations = {dilation, dilation, dilation};
    return at::conv3d(x, weight, bias, strides, paddings, dilations);
  }
};

struct Bottleneck {
  Convolution reduce;
  Convolution middle;
  Convolution expand;
  // Shortcut type B: a 1x1x1 convolution where the shape changes.
  std::unique_ptr<Convolution> shortcut;

  at::Tensor operator()(const at::Tensor& x) const {
    at::Tensor out = expand(middle(reduce(x).relu_()).relu_());
    return out.add_(shortcut ? (*shortcut)(x) : x).relu_();
  }
};

// Where weights come from: fills `out` with the named tensor.
using WeightSource = std::function<absl::Status(
    const std::string& name, const std::vector<int64_t>& shape, absl::Span<float> out)>;

// Reads one convolution and its normalisation, and folds: w' = w g / sqrt(v + eps),
// b' = beta - m g / sqrt(v + eps).
class LayerReader {
 public:
  explicit LayerReader(WeightSource source) : source_(std::move(source)) {}

  struct Shape {
    int64_t in;
    int64_t out;
    int64_t kernel;
    int64_t stride = 1;
    int64_t dilation = 1;
  };

  Convolution Read(const std::string& convolution, const std::string& normalisation,
                   const Shape& shape) {
    const std::vector<int64_t> extents = {shape.out, shape.in, shape.kernel, shape.kernel,
                                          shape.kernel};
    Convolution layer{at::empty(extents, at::kFloat), at::empty({shape.out}, at::kFloat),
                      shape.stride, shape.dilation};
    float* const weight = layer.weight.mutable_data_ptr<float>();
    const int64_t fan = layer.weight.numel() / shape.out;
    Fill(convolution + ".weight", extents, weight);
    std::array<std::vector<float>, 4> norm;
    constexpr std::array<const char*, 4> kParts = {".weight", ".bias", ".running_mean",
                                                   ".running_var"};
    for (size_t part = 0; part < kParts.size(); ++part) {
      norm[part].resize(static_cast<size_t>(shape.out));
      Fill(normalisation + kParts[part], {shape.out}, norm[part].data());
    }
    float* const bias = layer.bias.mutable_data_ptr<float>();
    for (int64_t o = 0; o < shape.out; ++o) {
      const double scale = norm[0][o] / std::sqrt(norm[3][o] + 1e-5);
      for (int64_t i = 0; i < fan; ++i) {
        weight[o * fan + i] = static_cast<float>(weight[o * fan + i] * scale);
      }
      bias[o] = static_cast<float>(norm[1][o] - norm[2][o] * scale);
    }
    return layer;
  }

  const absl::Status& status() const { return status_; }

 private:
  void Fill(const std::string& name, const std::vector<int64_t>& shape, float* out) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    if (status_.ok()) status_ = source_(name, shape, absl::MakeSpan(out, count));
  }

  WeightSource source_;
  absl::Status status_;
};

absl::StatusOr<std::string> WeightsName(const std::string& path) {
  const auto digest = Sha256HexOfFile(path);
  if (!digest.ok()) return digest.status();
  return absl::StrCat(kArchitecture, ", weights ", path, " sha256 ", *digest);
}

WeightSource SourceOf(const SafetensorsFile& file) {
  return [&file](const std::string& name, const std::vector<int64_t>& shape,
                 absl::Span<float> out) -> absl::Status {
    const auto values = file.Floats(name, shape);
    if (!values.ok()) return values.status();
    std::copy(values->begin(), values->end(), out.begin());
    return absl::OkStatus();
  };
}

// He-uniform convolutions and identity normalisations. The last of each block is halved, since
// sixteen residual sums would otherwise grow the variance 2^16 times.
absl::Status RandomWeights(const std::string& name, const std::vector<int64_t>& shape,
                           absl::Span<float> out, uint64_t stream) {
  const bool is_last = absl::StrContains(name, "bn3");
  if (shape.size() == 1) {
    const bool one = absl::EndsWith(name, ".weight") || absl::EndsWith(name, ".running_var");
    const bool halved = is_last && absl::EndsWith(name, ".weight");
    std::fill(out.begin(), out.end(), halved ? 0.5F : one ? 1.0F : 0.0F);
    return absl::OkStatus();
  }
  HashUniform(kRandomSalt, stream, out);
  const double fan_in = static_cast<double>(out.size()) / static_cast<double>(shape[0]);
  for (float& value : out) value = static_cast<float>(value * std::sqrt(6 / fan_in));
  return absl::OkStatus();
}

}  // namespace

struct FeatureNetwork::Layers {
  Convolution stem;
  std::vector<Bottleneck> blocks;

  // Reads all layers in order; the reader keeps the first error.
  static std::unique_ptr<Layers> Read(LayerReader& reader) {
    struct Stage {
      int64_t planes;
      int blocks;
      int64_t stride;
      int64_t dilation;
    };
    constexpr std::array<Stage, 4> kStages = {
        {{64, 3, 1, 1}, {128, 4, 2, 1}, {256, 6, 1, 2}, {512, 3, 1, 4}}};
    auto layers = std::make_unique<Layers>();
    layers->stem = reader.Read("conv1", "bn1", {1, 64, 7, 2});
    int64_t channels = 64;
    for (size_t s = 0; s < kStages.size(); ++s) {
      const Stage& stage = kStages[s];
      for (int b = 0; b < stage.blocks; ++b) {
        const std::string name = absl::StrCat("layer", s + 1, ".", b, ".");
        const int64_t stride = b == 0 ? stage.stride : 1;
        const int64_t wide = 4 * stage.planes;
        Bottleneck block;
        block.reduce = reader.Read(name + "conv1", name + "bn1", {channels, stage.planes, 1});
        block.middle = reader.Read(name + "conv2", name + "bn2",
                                   {stage.planes, stage.planes, 3, stride, stage.dilation});
        block.expand = reader.Read(name + "conv3", name + "bn3", {stage.planes, wide, 1});
        if (b == 0) {
          block.shortcut = std::make_unique<Convolution>(reader.Read(
              name + "downsample.0", name + "downsample.1", {channels, wide, 1, stride}));
        }
        layers->blocks.push_back(std::move(block));
        channels = wide;
      }
    }
    return layers;
  }
};

FeatureNetwork::FeatureNetwork(std::string name, std::unique_ptr<Layers> layers)
    : name_(std::move(name)), layers_(std::move(layers)) {}

FeatureNetwork::~FeatureNetwork() = default;

absl::StatusOr<std::unique_ptr<FeatureNetwork>> FeatureNetwork::Load(const std::string& path) {
  const auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  auto name = WeightsName(path);
  if (!name.ok()) return name.status();
  LayerReader reader(SourceOf(*file));
  auto layers = Layers::Read(reader);
  if (!reader.status().ok()) return reader.status();
  return std::unique_ptr<FeatureNetwork>(new FeatureNetwork(*std::move(name), std::move(layers)));
}

std::unique_ptr<FeatureNetwork> FeatureNetwork::MakeRandom() {
  uint64_t stream = 0;
  LayerReader reader(
      [&stream](const std::string& name, const std::vector<int64_t>& shape, absl::Span<float> out) {
        return RandomWeights(name, shape, out, stream++);
      });
  return std::unique_ptr<FeatureNetwork>(new FeatureNetwork(
      absl::StrCat(kArchitecture, ", RANDOM UNTRAINED WEIGHTS (hash seed ", kRandomSalt,
                   "): figures compare only with others of this extractor"),
      Layers::Read(reader)));
}

absl::StatusOr<std::vector<float>> FeatureNetwork::Features(absl::Span<const float> volume,
                                                            int64_t size) const {
  if (size < kLeastSize || static_cast<int64_t>(volume.size()) != size * size * size) {
    return absl::InvalidArgumentError(absl::StrCat("the feature network takes cubes of at least ",
                                                   kLeastSize, " voxels a side, found ", size));
  }
  try {
    const at::NoGradGuard no_grad;
    // ATen does not write to it.
    const at::Tensor input =
        at::from_blob(const_cast<float*>(volume.data()), {1, 1, size, size, size}, at::kFloat);
    at::Tensor x = layers_->stem(input).relu_();
    x = at::max_pool3d(x, {3, 3, 3}, {2, 2, 2}, {1, 1, 1});
    for (const Bottleneck& block : layers_->blocks) x = block(x);
    const at::Tensor pooled = x.mean({2, 3, 4}).contiguous();  // [1, 2048]
    const float* const values = pooled.const_data_ptr<float>();
    return std::vector<float>(values, values + pooled.numel());
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("feature network: ", error.what()));
  }
}

}  // namespace synthvol::model
