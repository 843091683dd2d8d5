// Test tool: delivers the fixed volume of synthetic_volume.h to a destination, as `synthvol push`
// does, and prints the progress as JSON lines.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "absl/time/clock.h"
#include "base/command_line.h"
#include "imaging/dicom/destination.h"
#include "tests/imaging_dicom/synthetic_volume.h"

namespace synthvol::imaging::dicom {
namespace {

absl::Status StoreSeries(const SeriesDescription& description, Delivery& delivery, int slices,
                         absl::Duration pause) {
  const Volume volume = SyntheticVolume();
  absl::StatusOr<std::unique_ptr<SeriesEncoder>> encoder = SeriesEncoder::Create(description);
  if (!encoder.ok()) return encoder.status();
  const size_t slice_voxels =
      static_cast<size_t>(volume.geometry.size[0] * volume.geometry.size[1]);
  EncodedSlice slice;
  OutgoingInstance instance;
  for (int64_t z = 0; z < std::min<int64_t>(slices, (*encoder)->slice_count()); ++z) {
    const absl::Span<const int16_t> stored(volume.voxels.data() + z * slice_voxels, slice_voxels);
    absl::Status status = (*encoder)->EncodeSlice(z, stored, &slice);
    if (!status.ok()) return status;
    instance.bytes.append(slice.bytes);
    absl::SleepFor(pause);
    if (!slice.last_of_instance) continue;
    instance.identity = (*encoder)->Identity(slice.instance);
    status = delivery.Store(std::exchange(instance, OutgoingInstance()));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

int Run(int argc, char** argv) {
  CLI::App app("Delivers the tests' volume");
  std::string to;
  std::string syntax = "explicit";
  bool enhanced = false;
  int slices = 1 << 30;
  double timeout = 10;
  double backoff = 0.1;
  double commitment = 0;
  double pause = 0;
  DestinationConfig options;
  app.add_option("--to", to, "AETITLE@HOST:PORT or URL")->required();
  app.add_option("--syntax", syntax)
      ->check(CLI::IsMember({"explicit", "implicit", "deflated", "rle", "jpegls"}));
  app.add_flag("--enhanced", enhanced);
  app.add_option("--slices", slices, "Deliver only the first ones");
  app.add_option("--pause", pause, "Seconds between slices, so that a test can interfere");
  app.add_option("--calling", options.calling_ae_title);
  app.add_option("--associations", options.associations);
  app.add_option("--attempts", options.retry.max_attempts);
  app.add_option("--backoff", backoff, "First pause, seconds");
  app.add_option("--timeout", timeout, "Connect and response, seconds");
  app.add_option("--commitment", commitment, "Seconds to wait for the report");
  app.add_option("--commitment-port", options.commitment_port);
  app.add_flag("--tls", options.tls.enabled);
  app.add_option("--ca", options.tls.ca_file);
  app.add_option("--cert", options.tls.certificate_file);
  app.add_option("--key", options.tls.key_file);
  app.add_option("--token", options.bearer_token);
  app.add_option("--user", options.username);
  app.add_option("--password", options.password);
  if (const std::optional<int> status = ParseCommandLine(app, argc, argv)) return *status;

  SeriesDescription description = SyntheticDescription();
  if (enhanced) description.storage = Storage::kEnhanced;
  if (syntax == "implicit") description.transfer_syntax = TransferSyntax::kImplicitLittleEndian;
  if (syntax == "deflated") description.transfer_syntax = TransferSyntax::kDeflated;
  if (syntax == "rle") description.transfer_syntax = TransferSyntax::kRleLossless;
  if (syntax == "jpegls") description.transfer_syntax = TransferSyntax::kJpegLsLossless;
  absl::StatusOr<DestinationConfig> config = ParseDestination(to);
  if (!config.ok()) return ReportError("store_series", config.status());
  options.retry.connect_timeout = options.retry.response_timeout = absl::Seconds(timeout);
  options.retry.initial_backoff = absl::Seconds(backoff);
  options.commitment_timeout = absl::Seconds(commitment);
  options.kind = config->kind;
  options.host = config->host;
  options.port = config->port;
  options.called_ae_title = config->called_ae_title;
  options.url = config->url;
  absl::StatusOr<std::unique_ptr<Destination>> destination = Destination::Create(options);
  if (!destination.ok()) return ReportError("store_series", destination.status());
  absl::StatusOr<std::unique_ptr<Delivery>> delivery =
      (*destination)->Begin([](const DeliveryProgress& progress) {
        std::printf("{\"stored\": %s, \"retries\": %s, \"committed\": %s}\n",
                    std::to_string(progress.stored).c_str(),
                    std::to_string(progress.retries).c_str(),
                    progress.committed ? "true" : "false");
        std::fflush(stdout);
      });
  if (!delivery.ok()) return ReportError("store_series", delivery.status());
  absl::Status status = StoreSeries(description, **delivery, slices, absl::Seconds(pause));
  if (status.ok()) status = (*delivery)->Finish().status();
  return status.ok() ? kExitFine : ReportError("store_series", status);
}

}  // namespace
}  // namespace synthvol::imaging::dicom

int main(int argc, char** argv) { return synthvol::imaging::dicom::Run(argc, argv); }
