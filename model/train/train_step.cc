#include "model/train/train_step.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>

namespace synthvol::model {
namespace {

// Computes in bfloat16 while it lives.
class AutocastGuard {
 public:
  AutocastGuard(bool on, at::DeviceType device) : on_(on), device_(device) {
    if (!on_) return;
    at::autocast::increment_nesting();
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, true);
  }
  ~AutocastGuard() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(device_, false);
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  }
  AutocastGuard(const AutocastGuard&) = delete;
  AutocastGuard& operator=(const AutocastGuard&) = delete;

 private:
  const bool on_;
  const at::DeviceType device_;
};

// Binary cross-entropy of logits [N,1] against one target for all.
at::Tensor Adversarial(const at::Tensor& logits, double target) {
  const at::Tensor l = logits.to(at::kFloat);
  return at::binary_cross_entropy_with_logits(l, at::full_like(l, target));
}

at::Tensor CrossEntropy(const at::Tensor& logits, const at::Tensor& labels) {
  return at::cross_entropy_loss(logits.to(at::kFloat), labels);
}

at::Tensor AbsoluteError(const at::Tensor& a, const at::Tensor& b) {
  return at::l1_loss(a.to(at::kFloat), b);
}

}  // namespace

struct TrainStep::Sample {
  Sample(const MicroBatch& source, const NetworkShape& shape, int64_t crop_position)
      : batch(source), crop(crop_position) {
    image = batch.images.narrow(2, crop, shape.SubVolumeSlices()).contiguous();
    if (batch.labels.defined()) {
      one_hot = at::one_hot(batch.labels, shape.num_classes).to(at::kFloat);
    }
    if (shape.ha_gan) {
      const int64_t step = shape.Stride();
      small = batch.images.slice(2, 0, shape.size, step)
                  .slice(3, 0, shape.size, step)
                  .slice(4, 0, shape.size, step)
                  .contiguous();
    }
  }

  const MicroBatch& batch;
  int64_t crop;
  at::Tensor image;    // [N,1,size/8,size,size]
  at::Tensor small;    // [N,1,e,e,e], HA-GAN
  at::Tensor one_hot;  // [N,classes], conditional
};

TrainStep::TrainStep(Networks& networks, const TrainOptions& options)
    : networks_(networks), options_(options) {
  const std::map<std::string, double> rates = {{"G", options.generator_rate},
                                               {"D", options.discriminator_rate},
                                               {"E", options.encoder_rate},
                                               {"C", options.discriminator_rate},
                                               {"S", options.encoder_rate}};
  for (auto& [letter, net] : networks.All()) {
    optimizers_.emplace(letter, Adam(*net, rates.at(letter)));
  }
  networks.Freeze();
}

std::vector<LossValue> TrainStep::Run(const std::vector<MicroBatch>& batches, int64_t crop,
                                      int64_t iteration) {
  std::vector<Sample> samples;
  samples.reserve(batches.size());
  for (const MicroBatch& batch : batches) samples.emplace_back(batch, networks_.shape, crop);
  share_ = 1.0 / static_cast<double>(batches.size());

  Losses losses;
  DiscriminatorPhase(samples, losses);
  GeneratorPhase(samples, iteration, losses);
  if (networks_.crf) CrfPhase(samples, losses);
  EncoderPhase(samples, losses);
  if (networks_.sub_encoder) SubEncoderPhase(samples, losses);

  std::vector<LossValue> values;
  for (const auto& [name, loss] : losses) values.push_back({name, loss.item<double>()});
  return values;
}

void TrainStep::Optimise(const std::string& letter, ParameterSet& net,
                         const std::vector<Sample>& samples,
                         const std::function<void(const Sample&)>& body) {
  net.RequireGradients(true);
  letter_ = letter;
  for (const Sample& sample : samples) {
    last_sample_ = &sample == &samples.back();
    const AutocastGuard autocast(options_.bf16, sample.image.device().type());
    body(sample);
  }
  net.RequireGradients(false);
  if (observer_ != nullptr) observer_->Complete(letter);
  optimizers_.at(letter).Step();
}

void TrainStep::Backward(const at::Tensor& loss, bool more) {
  if (observer_ != nullptr && last_sample_ && !more) observer_->LastPass(letter_);
  (loss * share_).backward();
}

void TrainStep::Report(Losses& losses, const std::string& name, const at::Tensor& loss) const {
  const at::Tensor part = loss.detach() * share_;
  const auto found = std::find_if(losses.begin(), losses.end(),
                                  [&name](const auto& entry) { return entry.first == name; });
  if (found == losses.end()) {
    losses.emplace_back(name, part);
  } else {
    found->second = found->second + part;
  }
}

void TrainStep::DiscriminatorPhase(const std::vector<Sample>& samples, Losses& losses) {
  const Generator& g = networks_.generator;
  const Discriminator& d = networks_.discriminator;
  Optimise("D", networks_.discriminator.net(), samples, [&](const Sample& s) {
    {
      const Judgement real = d.Judge(s.image, s.small, s.crop, /*training=*/true);
      at::Tensor loss = Adversarial(real.logit, 1.0);
      Report(losses, "d_real", loss);
      if (s.one_hot.defined()) {
        const at::Tensor class_loss = CrossEntropy(real.class_logits, s.batch.labels);
        Report(losses, "d_class", class_loss);
        loss = loss + class_loss;
      }
      // Backward at once: the real half's activations are gone before the fake half's come.
      Backward(loss, /*more=*/true);
    }
    at::Tensor fake_image;
    at::Tensor fake_small;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor embedding = g.Embed(s.batch.noise_discriminator, s.one_hot);
      if (networks_.shape.ha_gan) fake_small = g.RenderSmall(embedding);
      fake_image = g.Render(g.Crop(embedding, s.crop));
    }
    const at::Tensor loss =
        Adversarial(d.Judge(fake_image, fake_small, s.crop, /*training=*/true).logit, 0.0);
    Report(losses, "d_fake", loss);
    Backward(loss);
  });
}

void TrainStep::GeneratorPhase(const std::vector<Sample>& samples, int64_t iteration,
                               Losses& losses) {
  const Generator& g = networks_.generator;
  const Discriminator& d = networks_.discriminator;
  const double crf_weight =
      std::max(0.5 - 0.5 * static_cast<double>(iteration) /
                         static_cast<double>(std::max<int64_t>(1, options_.crf_iterations)),
               0.0);
  Optimise("G", networks_.generator.net(), samples, [&](const Sample& s) {
    const at::Tensor embedding = g.Embed(s.batch.noise_generator, s.one_hot);
    at::Tensor small;
    if (networks_.shape.ha_gan) small = g.RenderSmall(embedding);
    const at::Tensor image = g.Render(g.Crop(embedding, s.crop));
    const Judgement judged = d.Judge(image, small, s.crop, /*training=*/true);
    at::Tensor logit = judged.logit;
    // Without weight its result is not used, so it is not computed.
    if (networks_.crf && crf_weight > 0.0) {
      const at::Tensor refined = networks_.crf->Refine(embedding, logit);
      logit = crf_weight * refined + (1.0 - crf_weight) * logit;
    }
    at::Tensor loss = Adversarial(logit, 1.0);
    Report(losses, "g", loss);
    if (s.one_hot.defined()) {
      const at::Tensor class_loss = CrossEntropy(judged.class_logits, s.batch.labels);
      Report(losses, "g_class", class_loss);
      loss = loss + options_.class_weight * class_loss;
    }
    Backward(loss);
  });
}

void TrainStep::CrfPhase(const std::vector<Sample>& samples, Losses& losses) {
  const Generator& g = networks_.generator;
  const Discriminator& d = networks_.discriminator;
  Optimise("C", networks_.crf->net(), samples, [&](const Sample& s) {
    at::Tensor fake_embedding;
    at::Tensor fake_logit;
    at::Tensor real_embedding;
    at::Tensor real_logit;
    {
      const at::NoGradGuard no_grad;
      fake_embedding = g.Embed(s.batch.noise_crf, s.one_hot);
      const at::Tensor image = g.Render(g.Crop(fake_embedding, s.crop));
      fake_logit = d.Judge(image, {}, s.crop, /*training=*/true).logit;
      real_embedding = networks_.encoder.EncodeWhole(s.batch.images);
      real_logit = d.Judge(s.image, {}, s.crop, /*training=*/true).logit;
    }
    const at::Tensor fake_loss =
        Adversarial(networks_.crf->Refine(fake_embedding, fake_logit), 0.0);
    const at::Tensor real_loss =
        Adversarial(networks_.crf->Refine(real_embedding, real_logit), 1.0);
    Report(losses, "crf_real", real_loss);
    Report(losses, "crf_fake", fake_loss);
    Backward(real_loss + fake_loss);
  });
}

void TrainStep::EncoderPhase(const std::vector<Sample>& samples, Losses& losses) {
  Optimise("E", networks_.encoder.net(), samples, [&](const Sample& s) {
    const at::Tensor rebuilt = networks_.generator.Render(networks_.encoder.Encode(s.image));
    const at::Tensor loss = AbsoluteError(rebuilt, s.image);
    Report(losses, "e", loss);
    Backward(loss);
  });
}

void TrainStep::SubEncoderPhase(const std::vector<Sample>& samples, Losses& losses) {
  const Generator& g = networks_.generator;
  Optimise("S", networks_.sub_encoder->net(), samples, [&](const Sample& s) {
    at::Tensor embedding;
    {
      // HA-GAN encodes sub-volume by sub-volume, each with statistics of its own.
      const at::NoGradGuard no_grad;
      std::vector<at::Tensor> parts;
      const int64_t slices = networks_.shape.SubVolumeSlices();
      for (int64_t first = 0; first < networks_.shape.size; first += slices) {
        parts.push_back(
            networks_.encoder.Encode(s.batch.images.narrow(2, first, slices).contiguous()));
      }
      embedding = at::cat(parts, 2);
    }
    const at::Tensor rebuilt = g.Embed(networks_.sub_encoder->Encode(embedding), s.one_hot);
    const at::Tensor small = g.RenderSmall(rebuilt);
    const at::Tensor image = g.Render(g.Crop(rebuilt, s.crop));
    const at::Tensor loss = (AbsoluteError(image, s.image) + AbsoluteError(small, s.small)) / 2.0;
    Report(losses, "sub_e", loss);
    Backward(loss);
  });
}

}  // namespace synthvol::model
