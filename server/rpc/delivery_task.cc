#include "server/rpc/delivery_task.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "imaging/dicom/series_encoder.h"
#include "server/logging/log.h"
#include "server/rpc/draw_volume.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

namespace dicom = imaging::dicom;

// A message for each instance would be more than anybody reads.
constexpr int64_t kReportEvery = 16;

}  // namespace

DeliveryTask::DeliveryTask(const ServiceContext* context, const Destinations* destinations,
                           Executor* senders, TaskId id, Call call, SynthesisPlan plan,
                           std::string destination, std::shared_ptr<ServableModel> model,
                           std::shared_ptr<StreamWriter> writer)
    : context_(context),
      destinations_(destinations),
      senders_(senders),
      id_(id),
      call_(std::move(call)),
      plan_(std::move(plan)),
      destination_(std::move(destination)),
      model_(std::move(model)),
      writer_(std::move(writer)),
      next_volume_(plan_.start_volume) {}

TaskSpec DeliveryTask::Spec(absl::Time deadline) const {
  const uint64_t volume_bytes = EstimateVolumeBytes(plan_, model_->config.size);
  // The volume that is held back stands beside its instances.
  const uint64_t bytes = IsHeld(*context_, *model_) ? 2 * volume_bytes : volume_bytes;
  return MakeTaskSpec(id_, call_, plan_, *model_, bytes, deadline);
}

TurnResult DeliveryTask::Run(Turn& turn) {
  Series series;
  bool device_fault = false;
  const absl::Status rendered = Render(turn, series, device_fault);
  if (!rendered.ok()) return {TurnResult::Next::kDone, rendered, device_fault};
  {
    absl::MutexLock lock(&mutex_);
    // Nobody asks for it any more, and nobody counts its memory.
    if (ended_) return {TurnResult::Next::kPark, absl::OkStatus()};
    waiting_ = std::move(series);
  }
  senders_->Add([self = shared_from_this()] { self->Send(); });
  return {TurnResult::Next::kPark, absl::OkStatus()};
}

absl::Status DeliveryTask::Render(Turn& turn, Series& series, bool& device_fault) {
  std::unique_ptr<dicom::SeriesEncoder> encoder;
  dicom::EncodedSlice encoded;
  VolumeOutput output;
  output.begin = [&](const Draw& draw) {
    auto made = dicom::SeriesEncoder::Create(DescribeSeries(plan_, next_volume_, draw));
    if (!made.ok()) return made.status();
    encoder = *std::move(made);
    series.study_uid = encoder->uids().study();
    series.series_uid = encoder->uids().series();
    return absl::OkStatus();
  };
  output.slab = [&](const model::Slab& slab) {
    const size_t voxels = slab.stored.size() / slab.slice_count;
    for (int64_t i = 0; i < slab.slice_count; ++i) {
      const absl::Status status = encoder->EncodeSlice(
          slab.first_slice + i, slab.stored.subspan(i * voxels, voxels), &encoded);
      if (!status.ok()) return status;
      if (encoded.first_of_instance) {
        series.instances.push_back({encoder->Identity(encoded.instance), ""});
      }
      series.instances.back().bytes += encoded.bytes;
    }
    return absl::OkStatus();
  };
  const RenderResult rendered = DrawVolume(*context_, plan_, model_, next_volume_, 0,
                                           model::OutputKind::kStored, turn, output);
  device_fault = rendered.device_fault;
  return rendered.status;
}

void DeliveryTask::Send() {
  Series series;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_) return;
    series = std::move(waiting_);
  }
  const absl::StatusOr<dicom::DeliveryProgress> sent = Store(series);
  if (!sent.ok()) {
    context_->scheduler->End(id_, PublicStatus(sent.status()));
    return;
  }
  const bool done = next_volume_ + 1 == plan_.count;
  Report(series, *sent, /*ended=*/true, done);
  retries_before_ += static_cast<uint32_t>(sent->retries);
  ++next_volume_;
  if (done) {
    context_->scheduler->End(id_, absl::OkStatus());
  } else {
    context_->scheduler->Resume(id_);
  }
}

absl::StatusOr<dicom::DeliveryProgress> DeliveryTask::Store(Series& series) {
  const auto destination = destinations_->Open(destination_);
  if (!destination.ok()) return destination.status();
  int64_t reported = 0;
  int64_t retries = 0;
  auto delivery = (*destination)->Begin([&](const dicom::DeliveryProgress& progress) {
    if (progress.stored < reported + kReportEvery && progress.retries == retries) return;
    reported = progress.stored;
    retries = progress.retries;
    Report(series, progress, /*ended=*/false, /*done=*/false);
  });
  if (!delivery.ok()) return delivery.status();
  {
    absl::MutexLock lock(&mutex_);
    if (ended_) return absl::CancelledError("ended");
    delivery_ = delivery->get();
  }
  // Before `delivery` goes, nobody may reach it any more.
  const absl::Cleanup forget = [this] {
    absl::MutexLock lock(&mutex_);
    delivery_ = nullptr;
  };
  // The length is reported as progress, so instances are moved out one by one.
  for (dicom::OutgoingInstance& instance : series.instances) {
    const absl::Status stored = (*delivery)->Store(std::move(instance));
    if (!stored.ok()) return stored;
  }
  return (*delivery)->Finish();
}

void DeliveryTask::Report(const Series& series, const dicom::DeliveryProgress& progress, bool ended,
                          bool done) {
  v1::DeliverResponse response;
  response.set_volume_index(next_volume_);
  response.set_instances_stored(static_cast<uint32_t>(progress.stored));
  // An enhanced volume is one instance; slices are one each.
  response.set_instances_total(plan_.dicom.storage == dicom::Storage::kEnhanced
                                   ? 1
                                   : static_cast<uint32_t>(model_->config.size));
  response.set_retries(retries_before_ + static_cast<uint32_t>(progress.retries));
  if (ended) {
    response.set_study_instance_uid(series.study_uid);
    response.set_series_instance_uid(series.series_uid);
    response.set_committed(progress.committed);
  }
  response.set_done(done);
  writer_->Push(MakeMessage(response));
}

absl::Status DeliveryTask::PublicStatus(const absl::Status& status) const {
  // A caller that left is no trouble.
  Log(absl::IsCancelled(status) ? LogLevel::kInfo : LogLevel::kError, "delivery",
      {{"request_id", call_.request_id},
       {"destination", destination_},
       {"message", std::string(status.message())}});
  const std::string name = absl::StrCat("destination '", destination_, "'");
  // Addresses and titles are the operator's; the request id leads to them.
  const auto refused = [&](const char* what) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            name, " ", what, "; the server's log has the reason under ", call_.request_id)),
        "DESTINATION_REFUSED");
  };
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return WithRetryAfter(WithReason(absl::UnavailableError(absl::StrCat(
                                           name, " cannot be reached or broke off the delivery")),
                                       "DESTINATION_UNAVAILABLE"),
                            absl::Seconds(10));
    case absl::StatusCode::kResourceExhausted:
      return WithRetryAfter(
          WithReason(absl::ResourceExhaustedError(absl::StrCat(name, " has no room")),
                     "DESTINATION_FULL"),
          absl::Minutes(1));
    case absl::StatusCode::kCancelled:
      return status;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return refused("does not accept the server's credentials");
    case absl::StatusCode::kFailedPrecondition:
      return refused("refused the association or the instances");
    default:
      return refused("cannot be used as it is configured");
  }
}

void DeliveryTask::OnEnd(const absl::Status& status) {
  Series dropped;
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    // The queue in front of the senders may be long: the volume goes now, as its bytes are given
    // back.
    dropped = std::move(waiting_);
    if (delivery_ != nullptr) delivery_->Cancel();
  }
  writer_->Close(status);
  EndCall(call_, status, *context_->metrics, writer_->pushed_bytes());
}

}  // namespace synthvol::server
