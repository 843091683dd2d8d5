// What main() needs of each command of `synthvol`, and what the commands share.
#ifndef SYNTHVOL_CLIENT_CLI_COMMAND_H_
#define SYNTHVOL_CLIENT_CLI_COMMAND_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "synthvol/v1/synthesis.pb.h"

namespace synthvol::client {

// A subcommand and what it does once its flags are parsed. The status becomes the exit status.
struct Command {
  CLI::App* app = nullptr;
  std::function<absl::Status()> run;
};

// Each adds its subcommand to `app`.
Command AddModelsCommand(CLI::App& app);
Command AddGenerateCommand(CLI::App& app);
Command AddPushCommand(CLI::App& app);
Command AddBenchCommand(CLI::App& app);
Command AddStatusCommand(CLI::App& app);
Command AddCompletionCommand(CLI::App& app);
Command AddManCommand(CLI::App& app);

// Parses NAME, NAME@VERSION or NAME@LABEL. INVALID_ARGUMENT says what was expected.
absl::StatusOr<v1::ModelSelector> ParseModel(const std::string& text);

// What to ask of a model: the flags that `generate`, `push` and `bench` share.
class RequestFlags {
 public:
  // Adds --model, --seed, --count, --class-label, --precision, --priority.
  void AddTo(CLI::App& command);
  // Adds --digest, for commands that keep volumes or measure how they come.
  void AddDigestTo(CLI::App& command);
  // Returns the request, without a format. INVALID_ARGUMENT names the flag.
  absl::StatusOr<v1::SynthesizeRequest> Request() const;

  const std::string& model() const { return model_; }
  uint64_t seed() const { return seed_; }
  uint64_t count() const { return count_; }

 private:
  std::string model_;
  uint64_t seed_ = 0;
  uint64_t count_ = 1;
  CLI::Option* class_option_ = nullptr;
  int32_t class_label_ = 0;
  std::string precision_ = "auto";
  std::string priority_ = "normal";
  std::string digest_ = "sha256";
};

// DICOM options as flags: storage, transfer syntax, grouping, attributes.
class DicomFlags {
 public:
  void AddTo(CLI::App& command);
  // INVALID_ARGUMENT names the flag and the attributes that there are.
  absl::StatusOr<v1::DicomOptions> Options() const;

 private:
  std::string storage_ = "slices";
  std::string transfer_syntax_ = "explicit";
  std::string grouping_ = "series";
  std::vector<std::string> attributes_;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_COMMAND_H_
