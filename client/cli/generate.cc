// `synthvol generate`: volumes into a folder, restartable.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/progress_bar.h"
#include "client/cli/command.h"
#include "client/cli/connection.h"
#include "client/cli/generator.h"
#include "client/cli/interrupt.h"
#include "client/cli/output_folder.h"

namespace synthvol::client {
namespace {

using nlohmann::json;

struct GenerateFlags {
  ConnectionFlags connection;
  RequestFlags request;
  DicomFlags dicom;
  OutputOptions output;
  std::string dtype = "int16";
  std::string shard = "0/1";
  uint64_t parallel = 1;
  bool uncompressed = false;
  bool as_json = false;
  bool quiet = false;
};

void AddFlags(CLI::App& command, GenerateFlags& flags) {
  flags.request.AddTo(command);
  flags.request.AddDigestTo(command);
  command.add_option("--format", flags.output.format, "What to write")
      ->required()
      ->check(CLI::IsMember({"dicom", "nifti", "npy", "raw", "png"}))
      ->type_name("WORD");
  command
      .add_option("--output", flags.output.folder,
                  "Folder, new or empty, or begun by the same command")
      ->required()
      ->type_name("DIR");
  command
      .add_option("--dtype", flags.dtype,
                  "Voxels: int16 in stored units (HU), or float32 in [-1, 1]")
      ->check(CLI::IsMember({"int16", "float32"}))
      ->type_name("WORD");
  command.add_option("--parallel", flags.parallel, "Streams at once")
      ->check(CLI::Range(uint64_t{1}, uint64_t{64}).description(""))
      ->type_name("1..64");
  command
      .add_option("--shard", flags.shard,
                  "Make only part I of N (from 0) of the volumes; N workers may share --output")
      ->type_name("I/N");
  command.add_flag("--no-compress", flags.uncompressed, "NIfTI: write .nii instead of .nii.gz");
  command.add_flag("--montage", flags.output.montage,
                   "Write a PNG of the mid-planes beside each volume");
  command.add_flag("--gif", flags.output.gif,
                   "Write an animation through the slices beside each volume");
  command.add_flag("--json", flags.as_json, "Print a JSON summary on stdout");
  command.add_flag("--quiet", flags.quiet, "No progress on stderr");
  flags.dicom.AddTo(command);
  flags.connection.AddTo(command);
}

absl::StatusOr<v1::SynthesizeRequest> MakeRequest(GenerateFlags& flags) {
  absl::StatusOr<v1::SynthesizeRequest> request = flags.request.Request();
  if (!request.ok()) return request.status();
  const bool dicom = flags.output.format == "dicom";
  if (dicom && (flags.output.gif || flags.output.montage || flags.dtype != "int16")) {
    return absl::InvalidArgumentError(
        "--gif, --montage and --dtype go with --format nifti, npy, raw or png, not with dicom");
  }
  request->set_format(dicom                      ? v1::VOLUME_FORMAT_DICOM
                      : flags.dtype == "float32" ? v1::VOLUME_FORMAT_FLOAT32
                                                 : v1::VOLUME_FORMAT_INT16);
  absl::StatusOr<v1::DicomOptions> options = flags.dicom.Options();
  if (!options.ok()) return options.status();
  if (dicom) *request->mutable_dicom() = *std::move(options);
  flags.output.compress = !flags.uncompressed;
  return request;
}

// What makes two runs the same: everything that reaches the files.
json DescribeRequest(const GenerateFlags& flags, const v1::SynthesizeRequest& request,
                     const v1::Model& model) {
  json description = {{"model", request.model().name()},
                      {"model_version", model.version()},
                      {"model_digest", model.digest()},
                      {"seed", flags.request.seed()},
                      {"count", flags.request.count()},
                      {"format", flags.output.format},
                      {"dtype", flags.dtype},
                      {"precision", v1::Precision_Name(request.precision())},
                      {"compress", flags.output.compress},
                      {"montage", flags.output.montage},
                      {"gif", flags.output.gif}};
  if (request.has_class_label()) description["class_label"] = request.class_label();
  if (request.has_dicom()) description["dicom"] = request.dicom().ShortDebugString();
  return description;
}

json Summarize(const GenerateFlags& flags, const GenerateTotals& totals, const v1::Model& model,
               absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return {{"output", flags.output.folder},
          {"model", model.name()},
          {"model_version", model.version()},
          {"model_digest", model.digest()},
          {"volumes", totals.made},
          {"already_there", totals.already_there},
          {"bytes", totals.bytes},
          {"retries", totals.retries},
          {"seconds", seconds},
          {"first_slice_seconds", totals.first_slice_seconds},
          {"megabytes_per_second", totals.bytes / 1e6 / std::max(seconds, 1e-9)}};
}

// Refuses at the start what cannot fit at the end. Only a new folder is judged, and at two bytes a
// voxel: formats that compress may need less, so they are left to the disk.
absl::Status CheckRoom(const std::string& output, const std::string& format, uint64_t volumes,
                       const v1::Model& model) {
  namespace fs = std::filesystem;
  if (format == "nifti" || format == "png" || fs::exists(output)) return absl::OkStatus();
  std::error_code error;
  fs::path parent = fs::absolute(output, error);
  while (!error && !fs::exists(parent) && parent.has_relative_path()) parent = parent.parent_path();
  const fs::space_info space = fs::space(parent, error);
  const double needed = 2.0 * std::pow(model.size(), 3) * static_cast<double>(volumes);
  if (error || needed <= static_cast<double>(space.available)) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("--output %s: %d volumes need %.1f MB, %.1f MB are free there", output,
                      volumes, needed / 1e6, static_cast<double>(space.available) / 1e6));
}

absl::Status RunGenerate(GenerateFlags& flags) {
  absl::StatusOr<v1::SynthesizeRequest> request = MakeRequest(flags);
  if (!request.ok()) return request.status();
  const absl::StatusOr<Shard> shard = ParseShard(flags.shard);
  if (!shard.ok()) return shard.status();
  InterruptGuard interrupt;
  absl::StatusOr<std::unique_ptr<Client>> client = flags.connection.MakeClient();
  if (!client.ok()) return client.status();
  CallOptions call = flags.connection.Call();
  call.cancellation = interrupt.cancellation();
  const absl::StatusOr<v1::Model> model = (*client)->GetModel(request->model(), call);
  if (!model.ok()) return Explain(model.status());
  // From here on this version, whatever becomes the newest.
  request->mutable_model()->set_version(model->version());

  const uint64_t volumes = shard->End(flags.request.count()) - shard->Begin(flags.request.count());
  absl::Status room = CheckRoom(flags.output.folder, flags.output.format, volumes, *model);
  if (!room.ok()) return room;
  absl::StatusOr<std::unique_ptr<OutputFolder>> folder =
      OutputFolder::Open(flags.output.folder, DescribeRequest(flags, *request, *model), *shard);
  if (!folder.ok()) return folder.status();
  const absl::Time begun = absl::Now();
  Generator generator(**client, *request, *model, flags.output, **folder, flags.quiet);
  absl::Status status = generator.Run(shard->Begin(flags.request.count()),
                                      shard->End(flags.request.count()), flags.parallel, call);
  if (!status.ok() && interrupt.interrupted()) {
    return absl::CancelledError("interrupted; the same command continues where this stopped");
  }
  if (status.ok()) status = (*folder)->Finish();
  if (!status.ok()) return Explain(status);
  const json summary = Summarize(flags, generator.totals(), *model, absl::Now() - begun);
  if (flags.as_json) {
    absl::PrintF("%s\n", summary.dump(2));
  } else if (!flags.quiet) {
    absl::FPrintF(stderr, "%d volumes in %s (%d were there already), %.1f MB in %.1f s\n",
                  generator.totals().made + generator.totals().already_there, flags.output.folder,
                  generator.totals().already_there, generator.totals().bytes / 1e6,
                  summary["seconds"].get<double>());
  }
  return absl::OkStatus();
}

}  // namespace

Command AddGenerateCommand(CLI::App& app) {
  const auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand(
      "generate", "Fetch volumes into a folder; the same command again continues where it stopped");
  AddFlags(*command, *flags);
  return {command, [flags] { return RunGenerate(*flags); }};
}

}  // namespace synthvol::client
