#include "model/checkpoint/hash_weights.h"

#include <cmath>
#include <cstddef>
#include <functional>
#include <numeric>
#include <string_view>
#include <utility>

namespace synthvol::model {
namespace {

// The splitmix64 finaliser (Steele, Lea and Flood 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

int64_t Product(const std::vector<int64_t>& extents, size_t from) {
  return std::accumulate(extents.begin() + static_cast<std::ptrdiff_t>(from), extents.end(),
                         int64_t{1}, std::multiplies<>());
}

}  // namespace

void HashUniform(uint64_t salt, uint64_t stream, absl::Span<float> out) {
  const uint64_t base = (salt << 48) + (stream << 32);
  for (size_t i = 0; i < out.size(); ++i) {
    const double u = static_cast<double>(Mix(base + i) >> 40) / 8388608.0 - 1.0;
    out[i] = static_cast<float>(u);
  }
}

std::vector<NamedTensor> HashedWeights::Named() const {
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < tensors.size(); ++i) {
    named.push_back({tensors[i].name, DType::kF32, tensors[i].shape,
                     std::string_view(reinterpret_cast<const char*>(values[i].data()),
                                      values[i].size() * sizeof(float))});
  }
  return named;
}

HashedWeights MakeHashedGenerator(const ModelConfig& config, uint64_t salt) {
  HashedWeights weights;
  weights.tensors = GeneratorTensors(config);
  // Weights come before their biases, so a bias takes the fan-in of the weight before it.
  float scale = 0.0F;
  for (size_t i = 0; i < weights.tensors.size(); ++i) {
    const ExpectedTensor& tensor = weights.tensors[i];
    std::vector<float> values(static_cast<size_t>(Product(tensor.shape, 0)));
    HashUniform(salt, i, absl::MakeSpan(values));
    const bool is_norm = tensor.name.starts_with("bn");
    const bool is_norm_weight = is_norm && tensor.name.ends_with(".weight");
    if (!is_norm && tensor.shape.size() > 1) {
      scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(Product(tensor.shape, 1))));
    }
    for (float& value : values) {
      value *= is_norm ? 0.1F : scale;
      if (is_norm_weight) value += 1.0F;
    }
    weights.values.push_back(std::move(values));
  }
  return weights;
}

}  // namespace synthvol::model
