// One published iteration of CRF-GAN or HA-GAN (DESIGN section 5): discriminator, generator, CRF
// and half-encoder, or discriminator, generator, half-encoder and sub-encoder, each with its own
// Adam.
//
// Not thread-safe. Borrows the networks; owns the optimizers.
#ifndef SYNTHVOL_MODEL_TRAIN_TRAIN_STEP_H_
#define SYNTHVOL_MODEL_TRAIN_TRAIN_STEP_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/train/adam.h"
#include "model/train/networks.h"

namespace synthvol::model {

struct TrainOptions {
  // Learning rates of Adam; the CRF shares the discriminator's, the sub-encoder the encoder's.
  double generator_rate = 1e-4;
  double discriminator_rate = 4e-4;
  double encoder_rate = 1e-4;
  // Iterations over which the CRF's share of the generator's feedback falls from 0.5 to 0.
  int64_t crf_iterations = 60000;
  // Weight of the auxiliary classifier on generated volumes.
  double class_weight = 0.1;
  // Computes convolutions in bfloat16 under autocast; parameters stay float32.
  bool bf16 = false;
  // GPU: records an iteration as a CUDA graph and replays it; not with several processes.
  bool cuda_graph = true;
  // Takes the volumes of a micro-batch through forward and backward one by one: the same gradients
  // up to rounding (GroupNorm looks at one sample alone, losses are means), and the activations of
  // one volume instead of all.
  bool low_memory = false;
};

// What one iteration learns from. Several micro-batches accumulate gradients.
struct MicroBatch {
  // Real volumes [N,1,size,size,size] on [-1, 1].
  at::Tensor images;
  // Class of each volume [N] int64; undefined for unconditional networks.
  at::Tensor labels;
  // Latents [N,latent_dim] of the discriminator's, the generator's and the CRF's phase (the last
  // undefined for HA-GAN).
  at::Tensor noise_discriminator;
  at::Tensor noise_generator;
  at::Tensor noise_crf;
};

struct LossValue {
  std::string name;
  double value = 0;
};

// Follows how gradients come about: where data-parallel training averages them.
class GradientObserver {
 public:
  virtual ~GradientObserver() = default;
  // The backward pass that comes next completes the gradients of network `letter`.
  virtual void LastPass(const std::string& letter) = 0;
  // All gradients of `letter` are there; its optimizer steps when this returns.
  virtual void Complete(const std::string& letter) = 0;
};

class TrainStep {
 public:
  TrainStep(Networks& networks, const TrainOptions& options);
  ~TrainStep();
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  // Runs one iteration: all micro-batches share the crop position (0..7/8 size). Returns the losses
  // before each step: d_real, d_fake, g, crf_real, crf_fake, e (CRF-GAN) or d_real, d_fake, g, e,
  // sub_e (HA-GAN); with classes also d_class and g_class. On a GPU the first iterations run as
  // they come and the next is recorded for all that follow.
  std::vector<LossValue> Run(const std::vector<MicroBatch>& batches, int64_t crop,
                             int64_t iteration);

  // Borrows the observer; nullptr for none.
  void set_gradient_observer(GradientObserver* observer) { observer_ = observer; }
  TrainOptions& options() { return options_; }
  // By the letter of Networks::All.
  std::map<std::string, Adam>& optimizers() { return optimizers_; }

 private:
  // Volumes that go through the networks together, with what all phases share.
  struct Part;
  // A micro-batch: one part, or with low_memory one a volume.
  using Parts = std::vector<Part>;
  using Losses = std::vector<std::pair<std::string, at::Tensor>>;
  // What else an iteration depends on: its place in the volume and the CRF's share.
  struct Controls;
  // An iteration on a GPU that is recorded, with the tensors it reads.
  struct Recording;

  // The CRF's share of the generator's feedback in an iteration, 0.5 to 0.
  double CrfWeight(int64_t iteration) const;
  Losses Iterate(const std::vector<MicroBatch>& batches, const Controls& controls);
  std::vector<LossValue> RunRecorded(const std::vector<MicroBatch>& batches, int64_t crop,
                                     double crf_weight);
  Parts Split(const MicroBatch& batch, const Controls& controls, double share) const;

  void DiscriminatorPhase(const std::vector<Parts>& batches, Losses& losses);
  void GeneratorPhase(const std::vector<Parts>& batches, const Controls& controls, Losses& losses);
  void CrfPhase(const std::vector<Parts>& batches, Losses& losses);
  void EncoderPhase(const std::vector<Parts>& batches, Losses& losses);
  void SubEncoderPhase(const std::vector<Parts>& batches, Losses& losses);

  // The losses of one part, each followed by its backward pass.
  void JudgeReal(const Part& part, Losses& losses);
  void JudgeFake(const Part& part, Losses& losses);
  void FoolDiscriminator(const Part& part, const at::Tensor& projected, const Controls& controls,
                         Losses& losses);
  // Encodes whole volumes [N,1,size,size,size] as HA-GAN does, sub-volume by sub-volume, each with
  // statistics of its own; no graph. Returns [N,2c,e,e,e].
  at::Tensor EncodeSubVolumes(const at::Tensor& images) const;

  // Runs `body` on each micro-batch with gradients of network `letter` only, then steps its
  // optimizer.
  void Optimise(const std::string& letter, ParameterSet& net, const std::vector<Parts>& batches,
                const std::function<void(const Parts&)>& body);
  // Runs the backward pass of a part's share of the loss. `more`: another one follows in the same
  // body, whatever the part.
  void Backward(const Part& part, const at::Tensor& loss, bool more = false);
  // Adds a part's share of `loss` to the report.
  static void Report(Losses& losses, const std::string& name, const Part& part,
                     const at::Tensor& loss);

  Networks& networks_;
  TrainOptions options_;
  std::map<std::string, Adam> optimizers_;
  std::unique_ptr<Recording> recording_;
  GradientObserver* observer_ = nullptr;
  // Of the phase that runs: its network, and whether its last micro-batch is under way.
  std::string letter_;
  bool last_batch_ = false;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_TRAIN_STEP_H_
