#include "model/train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/version.h"
#include "model/eval/gate/plausibility.h"
#include "model/train/data_parallel.h"
#include "model/train/device.h"
#include "model/train/prefetcher.h"
#include "model/train/run_log.h"
#include "model/train/train_step.h"
#include "model/train/training_checkpoint.h"
#include "model/train/training_data.h"

namespace synthvol::model {
namespace {

namespace fs = std::filesystem;

// Losses beyond this mean that the two networks have left each other behind for good.
constexpr double kDivergedLoss = 1e4;

std::atomic<int> stop_signal{0};

void NoteSignal(int signal) { stop_signal.store(signal); }

class Trainer {
 public:
  Trainer(TrainConfig config, TrainingData data, const at::Device& device, DataParallel& parallel)
      : config_(std::move(config)),
        data_(std::move(data)),
        device_(device),
        parallel_(parallel),
        networks_(config_.model) {}

  absl::Status Prepare();
  absl::Status Run();

 private:
  // Volumes a step, over all processes.
  int64_t GlobalBatch() const {
    return config_.batch_size * config_.accumulate * parallel_.world_size();
  }
  TrainingParts Parts() {
    return {&networks_, step_.get(), average_.empty() ? nullptr : &average_};
  }
  absl::Status PrepareFolder();
  absl::Status Resume();
  absl::Status OneIteration(Prefetcher& prefetcher, RunLog* log);
  absl::Status Record(const std::vector<LossValue>& losses, int64_t crop, double seconds,
                      RunLog& log);
  absl::Status CheckLosses(const std::vector<LossValue>& losses) const;
  std::string LastCheckpoint() const;
  absl::Status Save();
  absl::Status Preview(RunLog& log);
  void ScaleRates();
  void UpdateAverage();
  bool ShouldStop() const;

  TrainConfig config_;
  const TrainingData data_;
  const at::Device device_;
  DataParallel& parallel_;
  Networks networks_;
  std::unique_ptr<TrainStep> step_;
  // Averaged generator by parameter name, when asked for.
  std::map<std::string, at::Tensor> average_;
  int64_t done_ = 0;
  int64_t saved_ = -1;
  // A signal or the time limit ends the run, in all processes after the same iteration.
  bool stop_ = false;
  absl::Time started_;
};

absl::Status Trainer::Prepare() {
  networks_.Initialise(config_.seed);
  networks_.To(device_);
  step_ = std::make_unique<TrainStep>(networks_, config_.step);
  if (config_.ema > 0 && parallel_.Leads()) {
    for (const auto& item : networks_.generator.net().parameters()) {
      average_[item.name] = item.tensor.detach().clone();
    }
  }
  DescribeData(data_.manifest(), config_.model);
  auto ranges = RangesOfDataset(config_.data);
  if (!ranges.ok()) return ranges.status();
  config_.model.plausibility_json = ranges->ToJson();
  auto& provenance = config_.model.provenance;
  provenance["data_manifest_sha256"] = data_.digest();
  provenance["commit"] = Commit();
  provenance["version"] = Version();
  provenance["seed"] = absl::StrCat(config_.seed);
  provenance["training_volumes"] = absl::StrCat(data_.count());
  // Rank 0 alone reads and writes the run's folder; the others take its state.
  if (auto status = parallel_.Agree(parallel_.Leads() ? PrepareFolder() : absl::OkStatus());
      !status.ok()) {
    return status;
  }
  if (auto status = parallel_.ShareStart(networks_, *step_, data_.digest(), done_); !status.ok()) {
    return status;
  }
  if (!parallel_.Leads() && done_ > 0) saved_ = done_;
  return absl::OkStatus();
}

absl::Status Trainer::PrepareFolder() {
  std::error_code error;
  const bool automatic = config_.resume == "auto";
  if (automatic) config_.resume = ListCheckpoints(config_.output).empty() ? "" : "latest";
  if (config_.resume.empty() && !automatic) {
    if (!ListCheckpoints(config_.output).empty() || fs::exists(config_.output + "/metrics.jsonl")) {
      return absl::AlreadyExistsError(
          absl::StrCat("--output ", config_.output,
                       ": holds a run already; expected a new folder, or --resume latest"));
    }
  }
  fs::create_directories(config_.output + "/checkpoints", error);
  if (error) {
    return absl::InternalError(
        absl::StrCat("--output ", config_.output, ": cannot create: ", error.message()));
  }
  RemovePartialCheckpoints(config_.output);
  return config_.resume.empty() ? absl::OkStatus() : Resume();
}

absl::Status Trainer::Resume() {
  std::string folder = config_.resume;
  if (folder == "latest") {
    const std::vector<int64_t> steps = ListCheckpoints(config_.output);
    if (steps.empty()) {
      return absl::NotFoundError(
          absl::StrCat("--resume latest: no checkpoint in ", config_.output, "/checkpoints"));
    }
    folder = CheckpointFolder(config_.output, steps.back());
  }
  auto state = LoadTraining(folder, config_.model, Parts());
  if (!state.ok()) return state.status();
  done_ = state->iteration;
  saved_ = done_;
  if (state->data_digest != data_.digest()) {
    std::fprintf(stderr, "synthvol-train: warning: %s was trained on another data set\n",
                 folder.c_str());
  }
  if (state->seed != config_.seed || state->global_batch != GlobalBatch()) {
    std::fprintf(stderr,
                 "synthvol-train: warning: %s had another --seed or batch: the data's order "
                 "changes\n",
                 folder.c_str());
  }
  return absl::OkStatus();
}

bool Trainer::ShouldStop() const {
  const bool late = config_.max_minutes > 0 &&
                    absl::ToDoubleMinutes(absl::Now() - started_) >= config_.max_minutes;
  return late || stop_signal.load() != 0;
}

void Trainer::ScaleRates() {
  double scale = 1.0;
  if (config_.decay > 0) {
    const double progress = static_cast<double>(done_) / static_cast<double>(config_.iterations);
    scale = std::min(1.0, (1.0 - progress) / config_.decay);
  }
  const TrainOptions& o = config_.step;
  const std::map<std::string, double> rates = {{"G", o.generator_rate},
                                               {"D", o.discriminator_rate},
                                               {"E", o.encoder_rate},
                                               {"C", o.discriminator_rate},
                                               {"S", o.encoder_rate}};
  for (auto& [letter, adam] : step_->optimizers()) {
    adam.set_learning_rate(rates.at(letter) * scale);
  }
}

void Trainer::UpdateAverage() {
  if (average_.empty()) return;
  const at::NoGradGuard no_grad;
  // Early on the average forgets its random start faster.
  const double decay = std::min(
      config_.ema, (1.0 + static_cast<double>(done_)) / (10.0 + static_cast<double>(done_)));
  for (const auto& item : networks_.generator.net().parameters()) {
    average_.at(item.name).lerp_(item.tensor, 1.0 - decay);
  }
}

std::string Trainer::LastCheckpoint() const {
  return saved_ < 0
             ? "there is no checkpoint"
             : absl::StrCat("the last checkpoint is ", CheckpointFolder(config_.output, saved_));
}

absl::Status Trainer::CheckLosses(const std::vector<LossValue>& losses) const {
  for (const LossValue& loss : losses) {
    if (std::isfinite(loss.value) && std::abs(loss.value) < kDivergedLoss) continue;
    return absl::InternalError(absl::StrCat("iteration ", done_ + 1, ": loss ", loss.name, " is ",
                                            loss.value, ", the training diverged; ",
                                            LastCheckpoint(), "; lower the learning rates"));
  }
  return absl::OkStatus();
}

absl::Status Trainer::OneIteration(Prefetcher& prefetcher, RunLog* log) {
  const absl::Time begin = absl::Now();
  IterationInput input = prefetcher.Next();
  for (MicroBatch& batch : input.batches) {
    for (at::Tensor* t : {&batch.images, &batch.labels, &batch.noise_discriminator,
                          &batch.noise_generator, &batch.noise_crf}) {
      if (t->defined()) *t = t->to(device_, /*non_blocking=*/true);
    }
  }
  ScaleRates();
  std::vector<LossValue> losses = step_->Run(input.batches, input.crop, done_);
  stop_ = ShouldStop();
  if (auto status = parallel_.ShareIteration(losses, stop_); !status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat("iteration ", done_ + 1, ": ", status.message(), "; ",
                                     LastCheckpoint(), "; start again with --resume latest"));
  }
  if (auto status = CheckLosses(losses); !status.ok()) return status;
  ++done_;
  UpdateAverage();
  if (log != nullptr) {
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    if (auto status = Record(losses, input.crop, seconds, *log); !status.ok()) return status;
  }
  if (config_.checkpoint_every > 0 && done_ % config_.checkpoint_every == 0) return Save();
  return absl::OkStatus();
}

absl::Status Trainer::Record(const std::vector<LossValue>& losses, int64_t crop, double seconds,
                             RunLog& log) {
  if (auto status = log.Iteration(done_, crop, losses, seconds); !status.ok()) return status;
  if (config_.preview_every > 0 && done_ % config_.preview_every == 0) return Preview(log);
  return absl::OkStatus();
}

absl::Status Trainer::Preview(RunLog& log) {
  if (config_.ema <= 0) return log.Preview(done_, networks_.generator);
  // A generator of its own holds the averages while it renders.
  Generator averaged(networks_.shape);
  const at::NoGradGuard no_grad;
  averaged.net().To(device_);
  for (const auto& item : averaged.net().parameters()) item.tensor.copy_(average_.at(item.name));
  return log.Preview(done_, averaged);
}

absl::Status Trainer::Save() {
  if (saved_ == done_) return absl::OkStatus();
  if (!parallel_.Leads()) {
    saved_ = done_;
    return absl::OkStatus();
  }
  config_.model.provenance["iterations"] = absl::StrCat(done_);
  TrainingState state;
  state.iteration = done_;
  state.seed = config_.seed;
  state.global_batch = GlobalBatch();
  state.data_digest = data_.digest();
  if (auto status = SaveTraining(config_.output, config_.model, state, Parts(), config_.keep);
      !status.ok()) {
    return status;
  }
  saved_ = done_;
  return absl::OkStatus();
}

absl::Status Trainer::Run() {
  std::unique_ptr<RunLog> log;
  if (parallel_.Leads()) {
    auto opened = RunLog::Open(config_, done_);
    if (!opened.ok()) return opened.status();
    log = *std::move(opened);
  }
  started_ = absl::Now();
  {
    Prefetcher prefetcher(data_, config_, done_, parallel_.rank(), parallel_.world_size(),
                          /*pinned=*/device_.is_cuda());
    while (done_ < config_.iterations && !stop_) {
      if (auto status = OneIteration(prefetcher, log.get()); !status.ok()) return status;
    }
  }
  if (auto status = Save(); !status.ok()) return status;
  if (log == nullptr) return absl::OkStatus();
  log->Finish();
  std::fprintf(stderr, "synthvol-train: %s after %ld iterations; checkpoint %s\n",
               stop_signal.load() != 0 ? "stopped by a signal" : "done", static_cast<long>(done_),
               CheckpointFolder(config_.output, done_).c_str());
  return absl::OkStatus();
}

absl::Status TrainHere(TrainConfig config, const at::Device& device, DataParallel& parallel) {
  if (config.threads > 0) at::set_num_threads(config.threads);
  at::globalContext().setDeterministicCuDNN(config.deterministic);
  auto data = TrainingData::Open(config, parallel.world_size());
  if (auto status = parallel.Agree(data.status()); !status.ok()) return status;
  Trainer trainer(std::move(config), *std::move(data), device, parallel);
  if (auto status = trainer.Prepare(); !status.ok()) return status;
  return trainer.Run();
}

}  // namespace

absl::Status Train(TrainConfig config) {
  if (auto status = Validate(config.model); !status.ok()) return status;
  std::signal(SIGTERM, NoteSignal);
  std::signal(SIGINT, NoteSignal);
  // A full disk is an error of a write, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  auto place = ReadProcessPlace();
  if (!place.ok()) return place.status();
  auto device = FindDevice(config.device, place->local_rank);
  if (!device.ok()) return device.status();
  DataParallel parallel(*place);
  try {
    if (auto status = parallel.Join(*device); !status.ok()) return status;
    return parallel.Named(TrainHere(std::move(config), *device, parallel));
  } catch (const std::exception& error) {
    return parallel.Named(absl::InternalError(absl::StrCat("training failed: ", error.what())));
  }
}

}  // namespace synthvol::model
