// synthvol-train: trains a generator on a prepared data set.
#include <string>
#include <string_view>

#include "base/command_line.h"
#include "model/train/profile.h"
#include "model/train/train_config.h"
#include "model/train/trainer.h"

namespace {

using synthvol::model::TrainConfig;

// Flags whose text is turned into configuration after parsing.
struct TextFlags {
  std::string architecture = "crf-gan";
  std::string crf_nodes = "released";
  std::string precision = "fp32";
  std::string memory = "fast";
};

void AddModelFlags(CLI::App& app, TrainConfig& config, TextFlags& text) {
  auto& model = config.model;
  app.add_option("--arch", text.architecture, "Networks")
      ->check(CLI::IsMember({"crf-gan", "ha-gan"}));
  app.add_option("--size", model.size, "Voxels a side")->check(CLI::IsMember({64, 128, 256, 512}));
  app.add_option("--channels", model.channels,
                 "Channels c of the generator's narrowest layer; all widths follow (papers: 32)");
  app.add_option("--latent-dim", model.latent_dim, "Numbers in a latent (papers: 1024)");
  app.add_option("--num-classes", model.num_classes, "Classes of the labels; 0 is unconditional");
  app.add_option("--labels", config.labels,
                 "CSV of file,class (default: the labels of the data set's manifest)");
  app.add_option("--crf-nodes", text.crf_nodes,
                 "CRF nodes: memory order as in the released code, or axial slabs as in the paper")
      ->check(CLI::IsMember({"released", "depth"}));
}

void AddDeviceFlags(CLI::App& app, TrainConfig& config, TextFlags& text) {
  app.add_option("--batch-size", config.batch_size, "Volumes a micro-batch")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--device", config.device, "auto, cpu, cuda or cuda:INDEX");
  app.add_option("--threads", config.threads, "CPU threads; 0 takes all cores")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--cuda-graph,!--no-cuda-graph", config.step.cuda_graph,
               "GPU: records an iteration and replays it (on by default)");
  app.add_flag("--deterministic,!--no-deterministic", config.deterministic,
               "GPU: only kernels that give the same bits again (on by default)");
  app.add_option("--precision", text.precision,
                 "Arithmetic of convolutions; on a GPU fp32 takes TF32 products, as PyTorch does")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option(
         "--memory", text.memory,
         "fast: a micro-batch at once; low: volume by volume, the activations of one instead "
         "of all, the same gradients up to rounding")
      ->check(CLI::IsMember({"fast", "low"}));
}

void AddScheduleFlags(CLI::App& app, TrainConfig& config) {
  const auto positive = CLI::Range(int64_t{1}, int64_t{1} << 40);
  const auto not_negative = CLI::Range(int64_t{0}, int64_t{1} << 40);
  app.add_option("--iterations", config.iterations, "Iterations")->check(positive);
  app.add_option("--accumulate", config.accumulate, "Micro-batches whose gradients add up")
      ->check(positive);
  app.add_option("--max-minutes", config.max_minutes, "Stops with a checkpoint then; 0 never")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--lr-g", config.step.generator_rate, "Learning rate of the generator");
  app.add_option("--lr-d", config.step.discriminator_rate,
                 "Learning rate of the discriminator and the CRF");
  app.add_option("--lr-e", config.step.encoder_rate, "Learning rate of the encoders");
  app.add_option("--decay", config.decay,
                 "Share of the iterations, at the end, over which learning rates fall to 0")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--crf-iterations", config.step.crf_iterations,
                 "Iterations over which the CRF's share falls from 0.5 to 0")
      ->check(positive);
  app.add_option("--ema", config.ema,
                 "Keeps an averaged generator with this decay, e.g. 0.999; 0 keeps none")
      ->check(CLI::Range(0.0, 0.999999));
  app.add_option("--seed", config.seed, "Seed of weights, noise, crops and data order");
  app.add_flag("--augment-flip", config.augmentation.flip, "Mirrors left and right at random");
  app.add_option("--augment-shift", config.augmentation.shift, "Largest random shift, voxels")
      ->check(not_negative);
  app.add_option("--augment-jitter", config.augmentation.jitter,
                 "Largest random change of contrast and brightness, on [-1, 1]")
      ->check(CLI::Range(0.0, 1.0));
}

void AddOutputFlags(CLI::App& app, TrainConfig& config) {
  const auto not_negative = CLI::Range(int64_t{0}, int64_t{1} << 40);
  app.add_option("--data", config.data, "Data set that synthvol-prepare wrote")->required();
  app.add_option("--output", config.output, "Folder of the run")->required();
  app.add_option(
      "--resume", config.resume,
      "RUN/checkpoints/STEP, latest, or auto: latest where there is one, otherwise anew (Jobs)");
  app.add_option("--checkpoint-every", config.checkpoint_every,
                 "Iterations between checkpoints; 0 writes only the last")
      ->check(not_negative);
  app.add_option("--preview-every", config.preview_every,
                 "Iterations between previews; 0 writes none")
      ->check(not_negative);
  app.add_option("--log-every", config.log_every, "Iterations between lines of metrics")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  app.add_option("--keep", config.keep, "Newest checkpoints that stay; 0 keeps all")
      ->check(not_negative);
}

// Turns texts into configuration; they have been checked against their lists.
void ApplyText(const TextFlags& text, TrainConfig& config) {
  config.model.architecture = text.architecture == "ha-gan"
                                  ? synthvol::model::Architecture::kHaGan
                                  : synthvol::model::Architecture::kCrfGan;
  config.model.crf_nodes = text.crf_nodes == "depth" ? synthvol::model::CrfNodes::kDepth
                                                     : synthvol::model::CrfNodes::kReleased;
  config.step.bf16 = text.precision == "bf16";
  config.step.low_memory = text.memory == "low";
}

int Finish(const absl::Status& status) {
  if (!status.ok()) return synthvol::ReportError("synthvol-train", status);
  return synthvol::kExitFine;
}

int Profile(int argc, char** argv) {
  CLI::App app("Measures training on random volumes: parameters, memory, iterations a second.",
               "synthvol-train profile");
  synthvol::model::ProfileRequest request;
  TextFlags text;
  bool here = false;
  AddModelFlags(app, request.config, text);
  AddDeviceFlags(app, request.config, text);
  app.add_option("--architectures", request.architectures, "Rows of the table")
      ->delimiter(',')
      ->check(CLI::IsMember({"crf-gan", "ha-gan"}));
  app.add_option("--batch-sizes", request.batch_sizes, "Columns of the table")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--iterations", request.iterations, "Measured after one that warms up")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--json", request.json, "Also writes the figures here");
  app.add_flag("--here", here, "One cell in this process: --arch and --batch-size, as JSON");
  if (const auto status = synthvol::ParseCommandLine(app, argc, argv)) return *status;
  ApplyText(text, request.config);
  return Finish(here ? synthvol::model::ProfileHere(request.config, request.iterations)
                     : synthvol::model::ProfileTable(request));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "profile") return Profile(argc - 1, argv + 1);
  CLI::App app(
      "Trains CRF-GAN or HA-GAN on a prepared data set. \"synthvol-train profile\" measures "
      "training.",
      "synthvol-train");
  TrainConfig config;
  TextFlags text;
  AddOutputFlags(app, config);
  AddModelFlags(app, config, text);
  AddScheduleFlags(app, config);
  AddDeviceFlags(app, config, text);
  if (const auto status = synthvol::ParseCommandLine(app, argc, argv)) return *status;
  ApplyText(text, config);
  return Finish(synthvol::model::Train(config));
}
