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

struct TrainStep::Part {
  // Which volumes of a micro-batch, and what share their loss has in the iteration's.
  struct Place {
    int64_t first;
    int64_t count;
    double share;
    bool opens;   // no part of the micro-batch came before
    bool closes;  // none follows
  };

  Part(const MicroBatch& batch, const NetworkShape& shape, int64_t crop_position, const Place& at)
      : place(at), crop(crop_position) {
    const auto cut = [&at](const at::Tensor& tensor) {
      return tensor.defined() ? tensor.narrow(0, at.first, at.count) : tensor;
    };
    images = cut(batch.images);
    labels = cut(batch.labels);
    noise_discriminator = cut(batch.noise_discriminator);
    noise_generator = cut(batch.noise_generator);
    noise_crf = cut(batch.noise_crf);
    image = images.narrow(2, crop, shape.SubVolumeSlices()).contiguous();
    if (labels.defined()) one_hot = at::one_hot(labels, shape.num_classes).to(at::kFloat);
    if (shape.ha_gan) {
      const int64_t step = shape.Stride();
      small = images.slice(2, 0, shape.size, step)
                  .slice(3, 0, shape.size, step)
                  .slice(4, 0, shape.size, step)
                  .contiguous();
    }
  }

  // All parts of a micro-batch see the weights of its first one.
  PowerStep power_step() const { return place.opens ? PowerStep::kNext : PowerStep::kSame; }

  Place place;
  int64_t crop;
  // As in MicroBatch, N being the part's volumes.
  at::Tensor images;
  at::Tensor labels;
  at::Tensor noise_discriminator;
  at::Tensor noise_generator;
  at::Tensor noise_crf;
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

TrainStep::Parts TrainStep::Split(const MicroBatch& batch, int64_t crop, double share) const {
  const int64_t volumes = batch.images.size(0);
  const int64_t count = options_.low_memory ? 1 : volumes;
  Parts parts;
  parts.reserve(static_cast<size_t>(volumes / count));
  for (int64_t first = 0; first < volumes; first += count) {
    const double part = share * static_cast<double>(count) / static_cast<double>(volumes);
    parts.emplace_back(
        batch, networks_.shape, crop,
        Part::Place{first, count, part, /*opens=*/first == 0, /*closes=*/first + count == volumes});
  }
  return parts;
}

std::vector<LossValue> TrainStep::Run(const std::vector<MicroBatch>& batches, int64_t crop,
                                      int64_t iteration) {
  std::vector<Parts> parts;
  parts.reserve(batches.size());
  for (const MicroBatch& batch : batches) {
    parts.push_back(Split(batch, crop, 1.0 / static_cast<double>(batches.size())));
  }

  Losses losses;
  DiscriminatorPhase(parts, losses);
  GeneratorPhase(parts, iteration, losses);
  if (networks_.crf) CrfPhase(parts, losses);
  EncoderPhase(parts, losses);
  if (networks_.sub_encoder) SubEncoderPhase(parts, losses);

  std::vector<LossValue> values;
  for (const auto& [name, loss] : losses) values.push_back({name, loss.item<double>()});
  return values;
}

void TrainStep::Optimise(const std::string& letter, ParameterSet& net,
                         const std::vector<Parts>& batches,
                         const std::function<void(const Parts&)>& body) {
  net.RequireGradients(true);
  letter_ = letter;
  for (const Parts& batch : batches) {
    last_batch_ = &batch == &batches.back();
    const AutocastGuard autocast(options_.bf16, batch.front().image.device().type());
    body(batch);
  }
  net.RequireGradients(false);
  if (observer_ != nullptr) observer_->Complete(letter);
  optimizers_.at(letter).Step();
}

void TrainStep::Backward(const Part& part, const at::Tensor& loss, bool more) {
  if (observer_ != nullptr && last_batch_ && part.place.closes && !more) {
    observer_->LastPass(letter_);
  }
  (loss * part.place.share).backward();
}

void TrainStep::Report(Losses& losses, const std::string& name, const Part& part,
                       const at::Tensor& loss) {
  const at::Tensor share = loss.detach() * part.place.share;
  const auto found = std::find_if(losses.begin(), losses.end(),
                                  [&name](const auto& entry) { return entry.first == name; });
  if (found == losses.end()) {
    losses.emplace_back(name, share);
  } else {
    found->second = found->second + share;
  }
}

void TrainStep::JudgeReal(const Part& part, Losses& losses) {
  const Judgement real =
      networks_.discriminator.Judge(part.image, part.small, part.crop, part.power_step());
  at::Tensor loss = Adversarial(real.logit, 1.0);
  Report(losses, "d_real", part, loss);
  if (part.one_hot.defined()) {
    const at::Tensor class_loss = CrossEntropy(real.class_logits, part.labels);
    Report(losses, "d_class", part, class_loss);
    loss = loss + class_loss;
  }
  Backward(part, loss, /*more=*/true);
}

void TrainStep::JudgeFake(const Part& part, Losses& losses) {
  const Generator& g = networks_.generator;
  at::Tensor image;
  at::Tensor small;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor embedding = g.Embed(part.noise_discriminator, part.one_hot);
    if (networks_.shape.ha_gan) small = g.RenderSmall(embedding);
    image = g.Render(g.Crop(embedding, part.crop));
  }
  const at::Tensor loss = Adversarial(
      networks_.discriminator.Judge(image, small, part.crop, part.power_step()).logit, 0.0);
  Report(losses, "d_fake", part, loss);
  Backward(part, loss);
}

void TrainStep::DiscriminatorPhase(const std::vector<Parts>& batches, Losses& losses) {
  Optimise("D", networks_.discriminator.net(), batches, [&](const Parts& batch) {
    // Backward at once: the real half's activations are gone before the fake half's come.
    for (const Part& part : batch) JudgeReal(part, losses);
    for (const Part& part : batch) JudgeFake(part, losses);
  });
}

void TrainStep::FoolDiscriminator(const Part& part, const at::Tensor& projected, double crf_weight,
                                  Losses& losses) {
  const Generator& g = networks_.generator;
  const at::Tensor embedding = g.EmbedProjected(projected);
  at::Tensor small;
  if (networks_.shape.ha_gan) small = g.RenderSmall(embedding);
  const at::Tensor image = g.Render(g.Crop(embedding, part.crop));
  const Judgement judged =
      networks_.discriminator.Judge(image, small, part.crop, part.power_step());
  at::Tensor logit = judged.logit;
  // Without weight its result is not used, so it is not computed.
  if (networks_.crf && crf_weight > 0.0) {
    const at::Tensor refined = networks_.crf->Refine(embedding, logit);
    logit = crf_weight * refined + (1.0 - crf_weight) * logit;
  }
  at::Tensor loss = Adversarial(logit, 1.0);
  Report(losses, "g", part, loss);
  if (part.one_hot.defined()) {
    const at::Tensor class_loss = CrossEntropy(judged.class_logits, part.labels);
    Report(losses, "g_class", part, class_loss);
    loss = loss + options_.class_weight * class_loss;
  }
  Backward(part, loss);
}

void TrainStep::GeneratorPhase(const std::vector<Parts>& batches, int64_t iteration,
                               Losses& losses) {
  const double crf_weight =
      std::max(0.5 - 0.5 * static_cast<double>(iteration) /
                         static_cast<double>(std::max<int64_t>(1, options_.crf_iterations)),
               0.0);
  Optimise("G", networks_.generator.net(), batches, [&](const Parts& batch) {
    // The linear layer's gradient is the largest tensor of all: it is made once for all parts.
    std::vector<at::Tensor> noise;
    std::vector<at::Tensor> one_hot;
    for (const Part& part : batch) {
      noise.push_back(part.noise_generator);
      if (part.one_hot.defined()) one_hot.push_back(part.one_hot);
    }
    const at::Tensor projected = networks_.generator.Project(
        at::cat(noise, 0), one_hot.empty() ? at::Tensor() : at::cat(one_hot, 0));
    const at::Tensor leaf = projected.detach().requires_grad_(true);
    for (const Part& part : batch) {
      FoolDiscriminator(part, leaf.narrow(0, part.place.first, part.place.count), crf_weight,
                        losses);
    }
    projected.backward(leaf.grad());
  });
}

void TrainStep::CrfPhase(const std::vector<Parts>& batches, Losses& losses) {
  const Generator& g = networks_.generator;
  const Discriminator& d = networks_.discriminator;
  Optimise("C", networks_.crf->net(), batches, [&](const Parts& batch) {
    // All generated ones first: each judgement of a whole batch moves the spectral norm once.
    std::vector<at::Tensor> fake_embeddings;
    std::vector<at::Tensor> fake_logits;
    for (const Part& part : batch) {
      const at::NoGradGuard no_grad;
      fake_embeddings.push_back(g.Embed(part.noise_crf, part.one_hot));
      const at::Tensor image = g.Render(g.Crop(fake_embeddings.back(), part.crop));
      fake_logits.push_back(d.Judge(image, {}, part.crop, part.power_step()).logit);
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      const Part& part = batch[i];
      at::Tensor real_embedding;
      at::Tensor real_logit;
      {
        const at::NoGradGuard no_grad;
        real_embedding = networks_.encoder.EncodeWhole(part.images);
        real_logit = d.Judge(part.image, {}, part.crop, part.power_step()).logit;
      }
      const at::Tensor fake_loss =
          Adversarial(networks_.crf->Refine(fake_embeddings[i], fake_logits[i]), 0.0);
      const at::Tensor real_loss =
          Adversarial(networks_.crf->Refine(real_embedding, real_logit), 1.0);
      fake_embeddings[i] = at::Tensor();
      Report(losses, "crf_real", part, real_loss);
      Report(losses, "crf_fake", part, fake_loss);
      Backward(part, real_loss + fake_loss);
    }
  });
}

void TrainStep::EncoderPhase(const std::vector<Parts>& batches, Losses& losses) {
  Optimise("E", networks_.encoder.net(), batches, [&](const Parts& batch) {
    for (const Part& part : batch) {
      const at::Tensor rebuilt = networks_.generator.Render(networks_.encoder.Encode(part.image));
      const at::Tensor loss = AbsoluteError(rebuilt, part.image);
      Report(losses, "e", part, loss);
      Backward(part, loss);
    }
  });
}

void TrainStep::SubEncoderPhase(const std::vector<Parts>& batches, Losses& losses) {
  const Generator& g = networks_.generator;
  Optimise("S", networks_.sub_encoder->net(), batches, [&](const Parts& batch) {
    for (const Part& part : batch) {
      const at::Tensor rebuilt =
          g.Embed(networks_.sub_encoder->Encode(EncodeSubVolumes(part.images)), part.one_hot);
      const at::Tensor small = g.RenderSmall(rebuilt);
      const at::Tensor image = g.Render(g.Crop(rebuilt, part.crop));
      const at::Tensor loss =
          (AbsoluteError(image, part.image) + AbsoluteError(small, part.small)) / 2.0;
      Report(losses, "sub_e", part, loss);
      Backward(part, loss);
    }
  });
}

at::Tensor TrainStep::EncodeSubVolumes(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> embeddings;
  const int64_t slices = networks_.shape.SubVolumeSlices();
  for (int64_t first = 0; first < networks_.shape.size; first += slices) {
    embeddings.push_back(networks_.encoder.Encode(images.narrow(2, first, slices).contiguous()));
  }
  return at::cat(embeddings, 2);
}

}  // namespace synthvol::model
