#include "model/train/train_step.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include <algorithm>
#include <array>

#include "model/train/device.h"
#include "model/train/train_step_parts.h"

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

// Gathers the losses of an iteration, [L] float: one copy to the host instead of one a loss.
at::Tensor Stack(const std::vector<std::pair<std::string, at::Tensor>>& losses) {
  std::vector<at::Tensor> values;
  values.reserve(losses.size());
  for (const auto& [name, loss] : losses) values.push_back(loss);
  return at::stack(values);
}

// Waits for the losses.
std::vector<LossValue> Read(const std::vector<std::pair<std::string, at::Tensor>>& losses,
                            const at::Tensor& stacked) {
  const at::Tensor host = stacked.to(at::kCPU, at::kDouble);
  std::vector<LossValue> values;
  for (size_t i = 0; i < losses.size(); ++i) {
    values.push_back({losses[i].first, host.const_data_ptr<double>()[i]});
  }
  return values;
}

// The tensors of a micro-batch.
template <typename Batch>
auto TensorsOf(Batch& batch) {
  return std::array{&batch.images, &batch.labels, &batch.noise_discriminator,
                    &batch.noise_generator, &batch.noise_crf};
}

}  // namespace

struct TrainStep::Recording {
  // Iterations that run as they come, before one is recorded: they load libraries and kernels.
  static constexpr int kWarmUp = 2;

  Recording(const std::vector<MicroBatch>& batches, const NetworkShape& shape, bool crf_counts)
      : recorder(MakeRecorder(batches.front().images.device())),
        inputs(batches),
        controls{SubVolume(shape, batches.front().images.device()),
                 at::zeros({}, batches.front().images.options()),
                 at::zeros({}, batches.front().images.options()), crf_counts} {
    for (MicroBatch& input : inputs) {
      for (at::Tensor* tensor : TensorsOf(input)) {
        if (tensor->defined()) *tensor = at::empty_like(*tensor);
      }
    }
  }

  bool Fits(const std::vector<MicroBatch>& batches, bool crf_counts) const {
    return batches.size() == inputs.size() && crf_counts == controls.crf_counts &&
           std::equal(batches.begin(), batches.end(), inputs.begin(),
                      [](const MicroBatch& a, const MicroBatch& b) {
                        return a.images.sizes() == b.images.sizes();
                      });
  }

  // Gives the recorded work its next input.
  void Take(const std::vector<MicroBatch>& batches, int64_t crop, double crf_weight) {
    for (size_t i = 0; i < batches.size(); ++i) {
      const auto from = TensorsOf(batches[i]);
      const auto to = TensorsOf(inputs[i]);
      for (size_t t = 0; t < from.size(); ++t) {
        if (from[t]->defined()) to[t]->copy_(*from[t], /*non_blocking=*/true);
      }
    }
    controls.place.MoveTo(crop);
    controls.crf_weight.fill_(crf_weight);
    controls.other_weight.fill_(1.0 - crf_weight);
  }

  std::unique_ptr<Recorder> recorder;
  std::vector<MicroBatch> inputs;
  Controls controls;
  int runs = 0;
  Losses losses;       // of the recorded iteration
  at::Tensor stacked;  // the same in one tensor
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

TrainStep::~TrainStep() = default;

double TrainStep::CrfWeight(int64_t iteration) const {
  const double progress = static_cast<double>(iteration) /
                          static_cast<double>(std::max<int64_t>(1, options_.crf_iterations));
  return std::max(0.5 - 0.5 * progress, 0.0);
}

TrainStep::Parts TrainStep::Split(const MicroBatch& batch, const Controls& controls,
                                  double share) const {
  const int64_t volumes = batch.images.size(0);
  const int64_t count = options_.low_memory ? 1 : volumes;
  Parts parts;
  parts.reserve(static_cast<size_t>(volumes / count));
  for (int64_t first = 0; first < volumes; first += count) {
    const double part = share * static_cast<double>(count) / static_cast<double>(volumes);
    parts.emplace_back(
        batch, networks_.shape, controls.place,
        Part::Place{first, count, part, /*opens=*/first == 0, /*closes=*/first + count == volumes});
  }
  return parts;
}

std::vector<LossValue> TrainStep::Run(const std::vector<MicroBatch>& batches, int64_t crop,
                                      int64_t iteration) {
  const double crf_weight = CrfWeight(iteration);
  if (options_.cuda_graph && observer_ == nullptr && batches.front().images.is_cuda()) {
    return RunRecorded(batches, crop, crf_weight);
  }
  const auto number = [&](double value) {
    return at::full({}, value, batches.front().images.options());
  };
  const Losses losses = Iterate(batches, {SubVolume(networks_.shape, crop), number(crf_weight),
                                          number(1.0 - crf_weight), crf_weight > 0.0});
  return Read(losses, Stack(losses));
}

std::vector<LossValue> TrainStep::RunRecorded(const std::vector<MicroBatch>& batches, int64_t crop,
                                              double crf_weight) {
  const bool crf_counts = crf_weight > 0.0;
  if (recording_ == nullptr || !recording_->Fits(batches, crf_counts)) {
    recording_.reset();
    recording_ = std::make_unique<Recording>(batches, networks_.shape, crf_counts);
  }
  Recording& recording = *recording_;
  recording.Take(batches, crop, crf_weight);
  ++recording.runs;
  if (recording.runs <= Recording::kWarmUp) {
    const Losses losses = Iterate(recording.inputs, recording.controls);
    return Read(losses, Stack(losses));
  }
  if (recording.runs == Recording::kWarmUp + 1) {
    // What was folded before would not be folded again when the recording is replayed.
    networks_.generator.DropFoldedKernels();
    recording.recorder->Record([&] {
      recording.losses = Iterate(recording.inputs, recording.controls);
      recording.stacked = Stack(recording.losses);
    });
  } else {
    for (auto& [letter, adam] : optimizers_) adam.NoteReplayedStep();
  }
  recording.recorder->Replay();
  return Read(recording.losses, recording.stacked);
}

TrainStep::Losses TrainStep::Iterate(const std::vector<MicroBatch>& batches,
                                     const Controls& controls) {
  std::vector<Parts> parts;
  parts.reserve(batches.size());
  for (const MicroBatch& batch : batches) {
    parts.push_back(Split(batch, controls, 1.0 / static_cast<double>(batches.size())));
  }

  Losses losses;
  DiscriminatorPhase(parts, losses);
  GeneratorPhase(parts, controls, losses);
  if (networks_.crf) CrfPhase(parts, losses);
  EncoderPhase(parts, losses);
  if (networks_.sub_encoder) SubEncoderPhase(parts, losses);
  return losses;
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

}  // namespace synthvol::model
