#include "server/rpc/synthesis_task.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "server/rpc/draw_volume.h"
#include "server/rpc/volume_sender.h"

namespace synthvol::server {

SynthesisTask::SynthesisTask(const ServiceContext* context, TaskId id, Call call,
                             SynthesisPlan plan, std::shared_ptr<ServableModel> model,
                             std::shared_ptr<StreamWriter> writer)
    : context_(context),
      id_(id),
      call_(std::move(call)),
      plan_(std::move(plan)),
      model_(std::move(model)),
      writer_(std::move(writer)),
      volume_bytes_(EstimateVolumeBytes(plan_, model_->config.size)),
      next_volume_(plan_.start_volume) {}

TaskSpec SynthesisTask::Spec(absl::Time deadline) const {
  const uint64_t turns = plan_.count - plan_.start_volume;
  uint64_t bytes =
      std::min(turns * volume_bytes_, std::max(volume_bytes_, context_->stream_buffer_bytes));
  // The volume that is held back stands beside what is being sent.
  if (IsHeld(*context_, *model_)) bytes += volume_bytes_;
  return MakeTaskSpec(id_, call_, plan_, *model_, bytes, deadline);
}

TurnResult SynthesisTask::Run(Turn& turn) {
  TurnResult result = SendVolume(turn);
  return result.status.ok() ? AfterVolume() : result;
}

TurnResult SynthesisTask::SendVolume(Turn& turn) {
  const absl::Time begin = absl::Now();
  const uint32_t start_slice = next_volume_ == plan_.start_volume ? plan_.start_slice : 0;
  const bool cuda = context_->devices[context_->device_of_worker[turn.worker()]].cuda;
  bool first_slice = std::exchange(first_turn_, false);
  const bool first_volume = first_slice;
  std::unique_ptr<VolumeSender> sender;
  VolumeOutput output;
  output.begin = [&](const Draw& draw) {
    auto made = VolumeSender::Create(plan_, next_volume_, draw, start_slice,
                                     {*writer_, *context_->pool, *context_->hashing});
    if (!made.ok()) return made.status();
    sender = *std::move(made);
    writer_->Push(MakeMessage(MakeHeader(plan_, *model_, next_volume_, draw, start_slice, cuda)));
    return absl::OkStatus();
  };
  output.slab = [&](const model::Slab& slab) {
    absl::Status sent = sender->Add(slab);
    if (std::exchange(first_slice, false)) {
      context_->metrics->ObserveFirstSlice(absl::Now() - call_.begin);
    }
    return sent;
  };
  const RenderResult rendered =
      DrawVolume(*context_, plan_, model_, next_volume_, FirstSliceNeeded(plan_, start_slice),
                 OutputKindOf(plan_), turn, output);
  if (!rendered.status.ok()) {
    return {TurnResult::Next::kDone, rendered.status, rendered.device_fault};
  }
  v1::SynthesizeResponse response;
  v1::VolumeTrailer& trailer = *response.mutable_trailer();
  sender->chunks().FillTrailer(trailer);
  trailer.set_slice_count(static_cast<uint32_t>(model_->config.size) - start_slice);
  if (first_volume) trailer.set_queue_seconds(absl::ToDoubleSeconds(begin - call_.begin));
  trailer.set_synthesis_seconds(absl::ToDoubleSeconds(absl::Now() - begin));
  writer_->Push(MakeMessage(response));
  ++next_volume_;
  return {};
}

TurnResult SynthesisTask::AfterVolume() {
  Scheduler* const scheduler = context_->scheduler;
  if (next_volume_ == plan_.count) {
    const bool sent =
        writer_->Reserve(0, [scheduler, id = id_] { scheduler->End(id, absl::OkStatus()); });
    return {sent ? TurnResult::Next::kDone : TurnResult::Next::kPark, absl::OkStatus()};
  }
  const uint64_t buffer = context_->stream_buffer_bytes;
  const uint64_t room_below = buffer > volume_bytes_ ? buffer - volume_bytes_ : 0;
  const bool room = writer_->Reserve(room_below, [scheduler, id = id_] { scheduler->Resume(id); });
  return {room ? TurnResult::Next::kAgain : TurnResult::Next::kPark, absl::OkStatus()};
}

void SynthesisTask::OnEnd(const absl::Status& status) {
  writer_->Close(status);
  context_->metrics->ObserveStreamBytes(writer_->pushed_bytes());
  EndCall(call_, status, *context_->metrics, writer_->pushed_bytes());
}

}  // namespace synthvol::server
