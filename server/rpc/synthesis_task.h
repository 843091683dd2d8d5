// A Synthesize call at work: one turn of the scheduler a volume.
//
// Between volumes the task gives its worker back, so that a request of a thousand volumes takes
// turns with others, and parks while its reader is behind (StreamWriter). It ends when the last
// byte was handed to the transport.
#ifndef SYNTHVOL_SERVER_RPC_SYNTHESIS_TASK_H_
#define SYNTHVOL_SERVER_RPC_SYNTHESIS_TASK_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rpc/call.h"
#include "server/rpc/service_context.h"
#include "server/scheduling/task.h"

namespace synthvol::server {

class SynthesisTask final : public Task {
 public:
  SynthesisTask(const ServiceContext* context, TaskId id, Call call, SynthesisPlan plan,
                std::shared_ptr<ServableModel> model, std::shared_ptr<StreamWriter> writer);

  // Returns what the scheduler is to know.
  TaskSpec Spec(absl::Time deadline) const;

  TurnResult Run(Turn& turn) override;
  void OnEnd(const absl::Status& status) override;

 private:
  // Renders and sends volume next_volume_.
  TurnResult SendVolume(Turn& turn);
  // Decides how to go on after a volume.
  TurnResult AfterVolume();

  const ServiceContext* const context_;
  const TaskId id_;
  const Call call_;
  const SynthesisPlan plan_;
  const std::shared_ptr<ServableModel> model_;
  const std::shared_ptr<StreamWriter> writer_;
  const uint64_t volume_bytes_;

  // Only touched by Run, which runs on one worker at a time.
  uint32_t next_volume_;
  bool first_turn_ = true;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SYNTHESIS_TASK_H_
