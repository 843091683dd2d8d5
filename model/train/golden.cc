#include "model/train/golden.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "model/checkpoint/hash_weights.h"
#include "model/train/train_step.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

// Streams and tolerances as shared/golden/README.md gives them.
constexpr uint64_t kImageStream = 1000;
constexpr uint64_t kForwardNoiseStream = 1001;
constexpr uint64_t kTrainingNoiseStream = 2000;
constexpr float kNoiseScale = 1.7320508F;
constexpr double kForwardAbsolute = 2e-5;
constexpr double kForwardRelative = 2e-4;
constexpr double kSumSquaresRelative = 1e-3;

double LossTolerance(size_t iteration) {
  constexpr double kByIteration[] = {2e-4, 1e-3, 5e-3, 5e-2};
  return kByIteration[std::min<size_t>(iteration, 3)];
}

at::Tensor Hash(uint64_t salt, uint64_t stream, const std::vector<int64_t>& shape) {
  at::Tensor out = at::empty(shape, at::kFloat);
  HashUniform(salt, stream,
              absl::MakeSpan(out.data_ptr<float>(), static_cast<size_t>(out.numel())));
  return out;
}

// 1/sqrt(k) of the rule "u*float32(1/sqrt(k))".
absl::StatusOr<at::Tensor> ApplyRule(const std::string& rule, const at::Tensor& u) {
  if (rule == "u") return u;
  if (rule == "1+0.1*u") return at::add(at::mul(u, 0.1), 1.0);
  if (rule == "0.1*u") return at::mul(u, 0.1);
  int64_t fan_in = 0;
  if (std::sscanf(rule.c_str(), "u*float32(1/sqrt(%ld))", &fan_in) == 1 && fan_in > 0) {
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(fan_in)));
    return at::mul(u, static_cast<double>(scale));
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown rule '", rule, "'"));
}

// Runs one golden file.
class Comparison {
 public:
  Comparison(const json& golden, const GoldenOptions& options, const ModelConfig& config)
      : golden_(golden), options_(options), config_(config), networks_(config) {
    salt_ = golden.at("salt").get<uint64_t>();
    batch_ = golden.at("batch_size").get<int64_t>();
    networks_.Freeze();
  }

  absl::Status FillWeights();
  void CompareParameterCounts();
  void CompareForward();
  void Train();
  void CompareParameterSums();

  std::vector<GoldenFigure> TakeFigures() { return std::move(figures_); }

 private:
  void Add(const std::string& name, double expected, double actual, double tolerance);
  void AddForward(const std::string& name, double expected, double actual) {
    Add(name, expected, actual, std::max(kForwardAbsolute, kForwardRelative * std::abs(expected)));
  }
  void AddProbe(const std::string& name, const at::Tensor& tensor);
  void AddLogits(const std::string& name, const json& expected, const at::Tensor& logits);
  at::Tensor Noise(uint64_t stream) const {
    return Hash(salt_, stream, {batch_, config_.latent_dim}) * kNoiseScale;
  }
  at::Tensor Images() const;

  const json& golden_;
  const GoldenOptions& options_;
  const ModelConfig config_;
  Networks networks_;
  uint64_t salt_ = 0;
  int64_t batch_ = 0;
  std::vector<GoldenFigure> figures_;
};

absl::Status Comparison::FillWeights() {
  const at::NoGradGuard no_grad;
  std::map<std::string, ParameterSet*> nets;
  size_t expected = 0;
  for (auto& [letter, net] : networks_.All()) {
    nets[letter] = net;
    expected += net->All().size();
  }
  for (const json& entry : golden_.at("parameters")) {
    const auto letter = entry.at(0).get<std::string>();
    const auto name = entry.at(1).get<std::string>();
    const auto shape = entry.at(2).get<std::vector<int64_t>>();
    const auto found = nets.find(letter);
    if (found == nets.end() || !found->second->Has(name)) {
      return absl::InvalidArgumentError(absl::StrCat("parameters: no tensor ", letter, ".", name));
    }
    const at::Tensor& target = (*found->second)[name];
    if (target.sizes() != at::IntArrayRef(shape)) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameters: ", letter, ".", name, " has another shape here"));
    }
    auto value =
        ApplyRule(entry.at(4).get<std::string>(), Hash(salt_, entry.at(3).get<uint64_t>(), shape));
    if (!value.ok()) return value.status();
    target.copy_(*value);
    --expected;
  }
  if (expected != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameters: ", expected, " of our tensors are not in the list"));
  }
  if (options_.alter) options_.alter(networks_);
  return absl::OkStatus();
}

at::Tensor Comparison::Images() const {
  const int64_t n = config_.size;
  const at::Tensor ramp = at::linspace(-1.0, 1.0, n, at::kFloat);
  const at::Tensor sum = ramp.view({n, 1, 1}) + ramp.view({1, n, 1}) + ramp.view({1, 1, n});
  return 0.25 * Hash(salt_, kImageStream, {batch_, 1, n, n, n}) + 0.25 * sum;
}

void Comparison::Add(const std::string& name, double expected, double actual, double tolerance) {
  figures_.push_back({name, expected, actual, tolerance});
  if (options_.on_figure) options_.on_figure(figures_.back());
}

void Comparison::AddProbe(const std::string& name, const at::Tensor& tensor) {
  const json& probe = golden_.at(name);
  const at::Tensor flat = tensor.reshape({-1});
  AddForward(
      name + ".elements",
      [&probe] {
        double count = 1;
        for (const json& extent : probe.at("shape")) count *= extent.get<double>();
        return count;
      }(),
      static_cast<double>(flat.numel()));
  const double mean = flat.mean(at::kDouble).item<double>();
  AddForward(name + ".mean", probe.at("mean").get<double>(), mean);
  AddForward(name + ".abs_mean", probe.at("abs_mean").get<double>(),
             flat.abs().mean(at::kDouble).item<double>());
  const double square = flat.square().mean(at::kDouble).item<double>();
  AddForward(name + ".std", probe.at("std").get<double>(), std::sqrt(square - mean * mean));
  AddForward(name + ".min", probe.at("min").get<double>(), flat.min().item<double>());
  AddForward(name + ".max", probe.at("max").get<double>(), flat.max().item<double>());
  const json& index = probe.at("flat_index");
  for (size_t i = 0; i < index.size(); ++i) {
    const auto at = index[i].get<int64_t>();
    if (at < 0 || at >= flat.numel()) continue;  // the element count has failed already
    AddForward(absl::StrCat(name, "[", at, "]"), probe.at("value").at(i).get<double>(),
               flat[at].item<double>());
  }
}

void Comparison::AddLogits(const std::string& name, const json& expected,
                           const at::Tensor& logits) {
  const at::Tensor flat = logits.reshape({-1});
  for (size_t i = 0; i < expected.size(); ++i) {
    const json& value = expected[i].is_array() ? expected[i].at(0) : expected[i];
    AddForward(absl::StrCat(name, "[", i, "]"), value.get<double>(),
               flat[static_cast<int64_t>(i)].item<double>());
  }
}

void Comparison::CompareParameterCounts() {
  for (auto& [letter, net] : networks_.All()) {
    Add("parameters." + letter, golden_.at("num_parameters").at(letter).get<double>(),
        static_cast<double>(net->ParameterCount()), 0.0);
  }
}

void Comparison::CompareForward() {
  const at::NoGradGuard no_grad;
  networks_.generator.set_convolution_path(options_.forward_path);
  networks_.encoder.set_convolution_path(options_.forward_path);
  const Generator& g = networks_.generator;
  const Discriminator& d = networks_.discriminator;
  const SubVolume place(networks_.shape, golden_.at("forward_crop").get<int64_t>());
  const at::Tensor embedding = g.Embed(Noise(kForwardNoiseStream));
  AddProbe("generator_full", g.Render(embedding.narrow(0, 0, 1)));
  const at::Tensor image = g.Render(place.CutEmbedding(embedding));
  AddProbe("generator_sub", image);
  at::Tensor small;
  at::Tensor real_small;
  const at::Tensor images = Images();
  if (networks_.shape.ha_gan) {
    small = g.RenderSmall(embedding);
    AddProbe("generator_small", small);
    const int64_t step = networks_.shape.Stride();
    real_small = images.slice(2, 0, config_.size, step)
                     .slice(3, 0, config_.size, step)
                     .slice(4, 0, config_.size, step)
                     .contiguous();
  } else {
    AddProbe("embedding", embedding);
  }
  const at::Tensor real = place.CutImage(images);
  const at::Tensor fake_logit = d.Judge(image, small, place, PowerStep::kNone).logit;
  AddLogits("discriminator_fake_logit", golden_.at("discriminator_fake_logit"), fake_logit);
  AddLogits("discriminator_real_logit", golden_.at("discriminator_real_logit"),
            d.Judge(real, real_small, place, PowerStep::kNone).logit);
  if (networks_.crf) {
    AddLogits("crf_fake_logit", golden_.at("crf_fake_logit"),
              networks_.crf->Refine(embedding, fake_logit));
    const json& given = golden_.at("crf_given_logits");
    at::Tensor logits = at::empty({batch_, 1}, at::kFloat);
    for (int64_t i = 0; i < batch_; ++i) {
      logits[i] = given.at("logits").at(static_cast<size_t>(i)).at(0).get<double>();
    }
    AddLogits("crf_given_logits", given.at("out"), networks_.crf->Refine(embedding, logits));
  }
  AddProbe("encoder", networks_.encoder.Encode(real));
}

void Comparison::Train() {
  networks_.generator.set_convolution_path(options_.training_path);
  networks_.encoder.set_convolution_path(options_.training_path);
  TrainStep step(networks_, TrainOptions{});
  MicroBatch batch;
  batch.images = Images();
  const json& iterations = golden_.at("training");
  for (size_t i = 0; i < iterations.size(); ++i) {
    const uint64_t stream = kTrainingNoiseStream + 10 * i;
    batch.noise_discriminator = Noise(stream);
    batch.noise_generator = Noise(stream + 1);
    if (networks_.crf) batch.noise_crf = Noise(stream + 2);
    const auto crop = iterations[i].at("crop").get<int64_t>();
    for (const LossValue& loss : step.Run({batch}, crop, static_cast<int64_t>(i))) {
      const auto expected = iterations[i].at(loss.name).get<double>();
      Add(absl::StrCat("training[", i, "].", loss.name), expected, loss.value,
          LossTolerance(i) * std::abs(expected));
    }
  }
}

void Comparison::CompareParameterSums() {
  for (auto& [letter, net] : networks_.All()) {
    double sum_of_squares = 0;
    for (const ParameterSet::Item& item : net->parameters()) {
      sum_of_squares += item.tensor.to(at::kDouble).square().sum().item<double>();
    }
    const auto expected = golden_.at("after_training").at(letter).at("sumsq").get<double>();
    Add("after_training." + letter + ".sumsq", expected, sum_of_squares,
        kSumSquaresRelative * expected);
  }
}

absl::StatusOr<std::vector<GoldenFigure>> Compare(const json& golden,
                                                  const GoldenOptions& options) {
  ModelConfig config;
  auto architecture = ParseArchitecture(golden.at("architecture").get<std::string>());
  if (!architecture.ok()) return architecture.status();
  config.architecture = *architecture;
  config.size = golden.at("resolution").get<int64_t>();
  if (auto status = Validate(config); !status.ok()) return status;
  Comparison comparison(golden, options, config);
  if (auto status = comparison.FillWeights(); !status.ok()) return status;
  comparison.CompareParameterCounts();
  comparison.CompareForward();
  if (!options.forward_only) {
    comparison.Train();
    comparison.CompareParameterSums();
  }
  return comparison.TakeFigures();
}

}  // namespace

// Written so that NaN fails.
bool GoldenFigure::Passes() const { return std::abs(actual - expected) <= tolerance; }

absl::StatusOr<std::vector<GoldenFigure>> CompareWithGolden(const std::string& path,
                                                            const GoldenOptions& options) {
  auto text = ReadFile(path, 64 << 20);
  if (!text.ok()) return text.status();
  try {
    auto figures = Compare(json::parse(*text), options);
    if (figures.ok()) return figures;
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", figures.status().message()));
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a file of golden values: ", error.what()));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(path, ": ", error.what()));
  }
}

}  // namespace synthvol::model
