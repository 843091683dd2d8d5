// `synthvol push`: volumes from a server into a PACS, through this machine or by the server itself.
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/atomic_file.h"
#include "base/progress_bar.h"
#include "client/cli/command.h"
#include "client/cli/connection.h"
#include "client/cli/file_meta.h"
#include "client/cli/interrupt.h"
#include "imaging/dicom/destination.h"

namespace synthvol::client {
namespace {

using imaging::dicom::Delivery;
using imaging::dicom::DeliveryProgress;
using imaging::dicom::Destination;
using imaging::dicom::DestinationConfig;
using nlohmann::json;

struct PushFlags {
  ConnectionFlags connection;
  RequestFlags request;
  DicomFlags dicom;
  std::string to;
  std::string destination;
  std::string token_file;
  std::string credentials_file;
  DestinationConfig config;  // what flags set of it
  uint32_t start_volume = 0;
  double commit_seconds = 0;
  bool as_json = false;
  bool quiet = false;
};

struct PushTotals {
  uint64_t volumes = 0;
  int64_t instances = 0;
  int64_t retries = 0;
  int64_t committed = 0;
};

// Hands each file to the PACS as soon as it is whole.
class PushSink : public VolumeSink {
 public:
  PushSink(const Destination& destination, PushTotals& totals, ProgressBar* bar)
      : destination_(destination), totals_(totals), bar_(bar) {}

  absl::Status Begin(const v1::VolumeHeader& /*header*/) override {
    delivery_.reset();
    pending_.clear();
    auto delivery = destination_.Begin([](const DeliveryProgress&) {});
    if (!delivery.ok()) return delivery.status();
    delivery_ = *std::move(delivery);
    return absl::OkStatus();
  }

  absl::Status Data(const VolumeData& data) override {
    pending_.append(data.data);
    if (!data.last_of_file) return absl::OkStatus();
    absl::StatusOr<imaging::dicom::InstanceIdentity> identity = ReadFileMeta(pending_);
    if (!identity.ok()) return identity.status();
    if (bar_ != nullptr) bar_->Advance();
    return delivery_->Store({*std::move(identity), std::exchange(pending_, std::string())});
  }

  absl::Status End(const v1::VolumeTrailer& /*trailer*/, const std::string& /*sha256*/) override {
    const absl::StatusOr<DeliveryProgress> progress = delivery_->Finish();
    if (!progress.ok()) return progress.status();
    ++totals_.volumes;
    totals_.instances += progress->stored;
    totals_.retries += progress->retries;
    totals_.committed += progress->committed ? 1 : 0;
    delivery_.reset();
    return absl::OkStatus();
  }

 private:
  const Destination& destination_;
  PushTotals& totals_;
  ProgressBar* const bar_;
  std::unique_ptr<Delivery> delivery_;
  std::string pending_;
};

absl::StatusOr<std::unique_ptr<Destination>> MakeDestination(PushFlags& flags) {
  absl::StatusOr<DestinationConfig> parsed = imaging::dicom::ParseDestination(flags.to);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--to ", flags.to, ": ", parsed.status().message()));
  }
  parsed->tls = flags.config.tls;
  parsed->calling_ae_title = flags.config.calling_ae_title;
  parsed->associations = flags.config.associations;
  parsed->commitment_timeout = absl::Seconds(flags.commit_seconds);
  parsed->commitment_port = flags.config.commitment_port;
  if (!flags.token_file.empty()) {
    absl::StatusOr<std::string> token = ReadFile(flags.token_file, 1 << 20);
    if (!token.ok()) return token.status();
    parsed->bearer_token = std::string(absl::StripAsciiWhitespace(*token));
  }
  if (!flags.credentials_file.empty()) {
    const absl::StatusOr<std::string> text = ReadFile(flags.credentials_file, 1 << 20);
    if (!text.ok()) return text.status();
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(absl::StripAsciiWhitespace(*text), absl::MaxSplits(':', 1));
    if (!absl::StrContains(*text, ':')) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--to-credentials-file ", flags.credentials_file, ": expected USER:PASSWORD"));
    }
    std::tie(parsed->username, parsed->password) = parts;
  }
  return Destination::Create(*parsed);
}

// Explains a failure and says which volume is the next.
absl::Status GoesOnFrom(uint64_t volume, const absl::Status& status) {
  absl::Status explained = Explain(status);
  // A request that is wrong at one volume is wrong at all of them.
  if (absl::IsNotFound(status) || absl::IsInvalidArgument(status)) return explained;
  return absl::Status(explained.code(), absl::StrCat(explained.message(), "; --start-volume ",
                                                     volume, " goes on from here"));
}

absl::StatusOr<PushTotals> PushFromHere(PushFlags& flags, Client& client,
                                        v1::SynthesizeRequest request, const CallOptions& call) {
  absl::StatusOr<std::unique_ptr<Destination>> destination = MakeDestination(flags);
  if (!destination.ok()) return destination.status();
  const absl::StatusOr<v1::Model> model = client.GetModel(request.model(), call);
  if (!model.ok()) return Explain(model.status());
  const bool enhanced = request.dicom().storage() == v1::DICOM_STORAGE_ENHANCED;
  const uint64_t files = enhanced ? 1 : static_cast<uint64_t>(model->size());
  std::unique_ptr<ProgressBar> bar;
  if (!flags.quiet) {
    bar = std::make_unique<ProgressBar>("push", "instances", request.count() * files,
                                        request.start_volume() * files);
  }
  request.set_format(v1::VOLUME_FORMAT_DICOM);
  // Files go on one by one, before a digest of their volume could be there; the CRC32C of each
  // chunk guards them.
  request.set_digest(v1::VOLUME_DIGEST_CRC32C);
  PushTotals totals;
  PushSink sink(**destination, totals, bar.get());
  const absl::Status status = client.Synthesize(request, sink, call);
  if (bar != nullptr) bar->Finish();
  if (!status.ok()) return GoesOnFrom(request.start_volume() + totals.volumes, status);
  return totals;
}

absl::StatusOr<PushTotals> PushFromServer(const PushFlags& flags, Client& client,
                                          const v1::SynthesizeRequest& request,
                                          const CallOptions& call) {
  v1::DeliverRequest deliver;
  *deliver.mutable_model() = request.model();
  deliver.set_seed(request.seed());
  deliver.set_count(request.count());
  if (request.has_class_label()) deliver.set_class_label(request.class_label());
  deliver.set_precision(request.precision());
  deliver.set_priority(request.priority());
  *deliver.mutable_dicom() = request.dicom();
  deliver.set_destination(flags.destination);
  deliver.set_start_volume(request.start_volume());
  std::unique_ptr<ProgressBar> bar;
  if (!flags.quiet) {
    bar = std::make_unique<ProgressBar>("push", "volumes", request.count(), request.start_volume());
  }
  PushTotals totals;
  const absl::Status status = client.Deliver(
      deliver,
      [&](const v1::DeliverResponse& message) {
        totals.retries = message.retries();
        if (message.series_instance_uid().empty()) return;
        ++totals.volumes;
        totals.instances += message.instances_stored();
        totals.committed += message.committed() ? 1 : 0;
        if (bar != nullptr) bar->Advance();
      },
      call);
  if (bar != nullptr) bar->Finish();
  if (!status.ok()) return GoesOnFrom(request.start_volume() + totals.volumes, status);
  return totals;
}

absl::Status RunPush(PushFlags& flags) {
  if (flags.to.empty() == flags.destination.empty()) {
    return absl::InvalidArgumentError("expected either --to or --destination");
  }
  absl::StatusOr<v1::SynthesizeRequest> request = flags.request.Request();
  if (!request.ok()) return request.status();
  absl::StatusOr<v1::DicomOptions> dicom = flags.dicom.Options();
  if (!dicom.ok()) return dicom.status();
  *request->mutable_dicom() = *std::move(dicom);
  request->set_count(static_cast<uint32_t>(flags.request.count()));
  request->set_start_volume(flags.start_volume);
  if (flags.start_volume >= flags.request.count()) {
    return absl::InvalidArgumentError(absl::StrCat("--start-volume ", flags.start_volume,
                                                   ": expected less than --count ",
                                                   flags.request.count()));
  }
  InterruptGuard interrupt;
  absl::StatusOr<std::unique_ptr<Client>> client = flags.connection.MakeClient();
  if (!client.ok()) return client.status();
  CallOptions call = flags.connection.Call();
  call.cancellation = interrupt.cancellation();
  const absl::StatusOr<PushTotals> totals = flags.to.empty()
                                                ? PushFromServer(flags, **client, *request, call)
                                                : PushFromHere(flags, **client, *request, call);
  if (!totals.ok()) return totals.status();
  if (flags.as_json) {
    const json summary = {{"volumes", totals->volumes},
                          {"instances", totals->instances},
                          {"retries", totals->retries},
                          {"committed", totals->committed}};
    absl::PrintF("%s\n", summary.dump(2));
  } else if (!flags.quiet) {
    absl::FPrintF(stderr, "%d volumes, %d instances stored, %d retries\n", totals->volumes,
                  totals->instances, totals->retries);
  }
  return absl::OkStatus();
}

}  // namespace

Command AddPushCommand(CLI::App& app) {
  const auto flags = std::make_shared<PushFlags>();
  CLI::App* command = app.add_subcommand(
      "push", "Deliver volumes into a PACS; doing it again overwrites the same instances");
  flags->request.AddTo(*command);
  command
      ->add_option("--to", flags->to,
                   "Where to: AETITLE@HOST:PORT (C-STORE) or http(s)://.../dicom-web (STOW-RS)")
      ->type_name("PACS");
  command
      ->add_option("--destination", flags->destination,
                   "Instead of --to: have the server deliver to a destination of its configuration")
      ->type_name("NAME");
  command
      ->add_option("--start-volume", flags->start_volume,
                   "Go on at this volume (index in the request)")
      ->type_name("I");
  constexpr char kGroup[] = "PACS";
  const auto add = [&](const char* name, std::string& variable, const char* help,
                       const char* type) {
    command->add_option(name, variable, help)->type_name(type)->group(kGroup);
  };
  add("--calling-ae", flags->config.calling_ae_title, "Our application entity title", "AETITLE");
  command->add_option("--associations", flags->config.associations, "C-STORE associations at once")
      ->check(CLI::Range(1, 16).description(""))
      ->type_name("1..16")
      ->group(kGroup);
  command
      ->add_option("--commit", flags->commit_seconds,
                   "Ask for storage commitment and wait so long; 0: do not ask")
      ->check(CLI::Range(0.0, 86400.0).description(""))
      ->type_name("SECONDS")
      ->group(kGroup);
  command
      ->add_option("--commit-port", flags->config.commitment_port,
                   "With --commit: port on which the PACS may report; 0: on our association only")
      ->check(CLI::Range(0, 65535).description(""))
      ->type_name("0..65535")
      ->group(kGroup);
  command->add_flag("--to-tls", flags->config.tls.enabled, "C-STORE over TLS")->group(kGroup);
  add("--to-tls-ca", flags->config.tls.ca_file, "PEM file of certificates to trust", "FILE");
  add("--to-tls-cert", flags->config.tls.certificate_file, "PEM file with our certificate", "FILE");
  add("--to-tls-key", flags->config.tls.key_file, "PEM file with our key", "FILE");
  add("--to-token-file", flags->token_file, "File with the bearer token for STOW-RS", "FILE");
  add("--to-credentials-file", flags->credentials_file, "File with USER:PASSWORD for STOW-RS",
      "FILE");
  command->add_flag("--json", flags->as_json, "Print a JSON summary on stdout");
  command->add_flag("--quiet", flags->quiet, "No progress on stderr");
  flags->dicom.AddTo(*command);
  flags->connection.AddTo(*command);
  return {command, [flags] { return RunPush(*flags); }};
}

}  // namespace synthvol::client
