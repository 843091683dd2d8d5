// study build, study serve, study analyze.
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "base/command_line.h"
#include "model/eval/commands.h"
#include "model/eval/evaluator.h"
#include "model/eval/study/analyze.h"
#include "model/eval/study/build.h"
#include "model/eval/study/serve.h"

namespace synthvol::model {
namespace {

namespace fs = std::filesystem;

struct BuildArguments {
  std::string real;
  std::string first;
  std::string second;
  std::string output;
  std::string key;
  std::string window = "-1024,600";
  std::string split = "all";
  std::optional<uint64_t> seed;
  uint64_t volume_seed = 0;
  StudyOptions study;
};

// Opens one source; a checkpoint renders as many volumes as the study needs.
absl::StatusOr<std::unique_ptr<VolumeSet>> OpenSource(const BuildArguments& arguments,
                                                      const std::string& path) {
  const auto window = ParseWindow(arguments.window);
  if (!window.ok()) return window.status();
  const auto split = ParseSplit(arguments.split);
  if (!split.ok()) return split.status();
  VolumeSetOptions options;
  options.window = *window;
  options.split = *split;
  options.seed = arguments.volume_seed;
  if (fs::exists(fs::path(path) / "config.json")) {
    options.count = arguments.study.real_pairs + arguments.study.preference_pairs;
  }
  return VolumeSet::Open(path, options);
}

absl::StatusOr<int> RunBuild(const BuildArguments& arguments) {
  const auto real = OpenSource(arguments, arguments.real);
  if (!real.ok()) return real.status();
  const auto first = OpenSource(arguments, arguments.first);
  if (!first.ok()) return first.status();
  const auto second = OpenSource(arguments, arguments.second);
  if (!second.ok()) return second.status();
  StudyOptions options = arguments.study;
  options.seed = arguments.seed.value_or(std::random_device()());
  const auto key = BuildStudy(**real, **first, **second, options, arguments.output, arguments.key);
  if (!key.ok()) return key.status();
  std::cout << "study " << key->study << ": " << key->pairs.size() << " pairs in "
            << arguments.output << " (open index.html, or synthvol-eval study serve); the key is "
            << arguments.key << "\n";
  return kExitFine;
}

absl::StatusOr<int> RunServe(const StudyServerOptions& options) {
  // Blocked before the server's threads start, so that only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto server = StudyServer::Start(options);
  if (!server.ok()) return server.status();
  std::cout << (*server)->url() << std::endl;
  int signal = 0;
  sigwait(&signals, &signal);
  return kExitFine;
}

// Lists the .json files of the folders among `paths`, and the files themselves.
std::vector<std::string> AnswerFiles(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    fs::directory_iterator entry(path, error);
    // No folder, or none that can be read: reading it as a file says what is wrong.
    if (error) files.push_back(path);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      if (entry->path().extension() == ".json") files.push_back(entry->path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<int> RunAnalyze(const std::string& key_path, const std::vector<std::string>& paths,
                               const std::string& json, const ResamplingOptions& options) {
  const auto key_text = ReadFile(key_path, 64 << 20);
  if (!key_text.ok()) return key_text.status();
  const auto key = ParseStudyKey(*key_text, key_path);
  if (!key.ok()) return key.status();
  std::vector<StudyAnswers> readers;
  for (const std::string& file : AnswerFiles(paths)) {
    const auto text = ReadFile(file, 1 << 20);
    if (!text.ok()) return text.status();
    auto answers = ParseStudyAnswers(*text, file);
    if (!answers.ok()) return answers.status();
    readers.push_back(*std::move(answers));
  }
  const auto analysis = AnalyzeStudy(*key, readers, options);
  if (!analysis.ok()) return analysis.status();
  std::cout << StudyInWords(*analysis);
  if (!json.empty()) {
    if (auto status = WriteFileAtomically(json, analysis->dump(2) + "\n"); !status.ok()) {
      return status;
    }
  }
  return kExitFine;
}

void AddBuild(CLI::App& study, std::vector<Command>& commands) {
  auto arguments = std::make_shared<BuildArguments>();
  CLI::App* const command =
      study.add_subcommand("build", "makes the folder for readers, and the key to keep from them");
  command->add_option("--real", arguments->real, "real volumes: a data set or folder")->required();
  command
      ->add_option("--first", arguments->first,
                   "first generator (CRF-GAN): a checkpoint or folder of volumes")
      ->required();
  command
      ->add_option("--second", arguments->second,
                   "second generator (HA-GAN): a checkpoint or folder of volumes")
      ->required();
  command->add_option("--output", arguments->output, "folder to make")->required();
  command->add_option("--key", arguments->key, "answer key to write, outside that folder")
      ->required();
  command->add_option("--first-label", arguments->study.first_label, "name in the analysis");
  command->add_option("--second-label", arguments->study.second_label, "name in the analysis");
  command->add_option("--real-pairs", arguments->study.real_pairs, "real-or-synthetic pairs")
      ->check(CLI::Range(0, 1000));
  command
      ->add_option("--preference-pairs", arguments->study.preference_pairs,
                   "pairs of first against second generator")
      ->check(CLI::Range(0, 1000));
  command
      ->add_option("--mode", arguments->study.mode, "scroll volumes, or the paper's single slice")
      ->check(CLI::IsMember({"volume", "slice"}));
  command->add_option("--split", arguments->split, "what of a real data set to show")
      ->check(CLI::IsMember({"train", "validation", "all"}));
  command->add_option("--window", arguments->window,
                      "stored units (HU) that are [-1, 1] in folders of volumes");
  command->add_option("--volume-seed", arguments->volume_seed,
                      "first seed of checkpoints' volumes");
  command->add_option("--seed", arguments->seed, "seed of the draw; default: a random one");
  command->add_option("--viewer", arguments->study.viewer, "another niivue.umd.js");
  commands.push_back({command, [=] { return RunBuild(*arguments); }});
}

void AddServe(CLI::App& study, std::vector<Command>& commands) {
  auto options = std::make_shared<StudyServerOptions>();
  CLI::App* const command = study.add_subcommand(
      "serve", "serves the folder and takes answers, until interrupted; there is no login");
  command->add_option("--folder", options->folder, "folder of study build")->required();
  command->add_option("--answers", options->answers, "folder for answers")->required();
  command->add_option("--listen", options->listen, "HOST:PORT; port 0 takes a free one");
  commands.push_back({command, [=] { return RunServe(*options); }});
}

void AddAnalyze(CLI::App& study, std::vector<Command>& commands) {
  auto key = std::make_shared<std::string>();
  auto answers = std::make_shared<std::vector<std::string>>();
  auto json = std::make_shared<std::string>();
  auto options = std::make_shared<ResamplingOptions>();
  options->replicates = 2000;
  CLI::App* const command =
      study.add_subcommand("analyze", "scores the answers with the key and says what they mean");
  command->add_option("--key", *key, "answer key of study build")->required();
  command->add_option("answers", *answers, "answer files, or folders of them")->required();
  command->add_option("--json", *json, "file to write all figures to");
  command->add_option("--bootstrap", options->replicates, "resamples for the interval")
      ->check(CLI::Range(1, 100000));
  command->add_option("--bootstrap-seed", options->seed, "seed of the resamples");
  commands.push_back({command, [=] { return RunAnalyze(*key, *answers, *json, *options); }});
}

}  // namespace

void AddStudyCommands(CLI::App& app, std::vector<Command>& commands) {
  CLI::App* const study = app.add_subcommand(
      "study", "reader study: real or synthetic, and which generator looks more real");
  study->require_subcommand(1);
  AddBuild(*study, commands);
  AddServe(*study, commands);
  AddAnalyze(*study, commands);
}

}  // namespace synthvol::model
