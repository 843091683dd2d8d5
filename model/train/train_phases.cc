// The phases of one published iteration (DESIGN section 5), each with the losses it minimises.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "model/train/train_step.h"
#include "model/train/train_step_parts.h"

namespace synthvol::model {
namespace {

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

void TrainStep::JudgeReal(const Part& part, Losses& losses) {
  const Judgement real =
      networks_.discriminator.Judge(part.image, part.small, part.sub_volume, part.power_step());
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
    image = g.Render(part.sub_volume.CutEmbedding(embedding));
  }
  const at::Tensor loss = Adversarial(
      networks_.discriminator.Judge(image, small, part.sub_volume, part.power_step()).logit, 0.0);
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

void TrainStep::FoolDiscriminator(const Part& part, const at::Tensor& projected,
                                  const Controls& controls, Losses& losses) {
  const Generator& g = networks_.generator;
  const at::Tensor embedding = g.EmbedProjected(projected);
  at::Tensor small;
  if (networks_.shape.ha_gan) small = g.RenderSmall(embedding);
  const at::Tensor image = g.Render(part.sub_volume.CutEmbedding(embedding));
  const Judgement judged =
      networks_.discriminator.Judge(image, small, part.sub_volume, part.power_step());
  at::Tensor logit = judged.logit;
  if (networks_.crf && controls.crf_counts) {
    const at::Tensor refined = networks_.crf->Refine(embedding, logit);
    logit = controls.crf_weight * refined + controls.other_weight * logit;
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

void TrainStep::GeneratorPhase(const std::vector<Parts>& batches, const Controls& controls,
                               Losses& losses) {
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
      FoolDiscriminator(part, leaf.narrow(0, part.place.first, part.place.count), controls, losses);
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
      const at::Tensor image = g.Render(part.sub_volume.CutEmbedding(fake_embeddings.back()));
      fake_logits.push_back(d.Judge(image, {}, part.sub_volume, part.power_step()).logit);
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      const Part& part = batch[i];
      at::Tensor real_embedding;
      at::Tensor real_logit;
      {
        const at::NoGradGuard no_grad;
        real_embedding = networks_.encoder.EncodeWhole(part.images);
        real_logit = d.Judge(part.image, {}, part.sub_volume, part.power_step()).logit;
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
      const at::Tensor image = g.Render(part.sub_volume.CutEmbedding(rebuilt));
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
