// What all services and tasks work with. Not owned: the Server outlives them.
#ifndef SYNTHVOL_SERVER_RPC_SERVICE_CONTEXT_H_
#define SYNTHVOL_SERVER_RPC_SERVICE_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "model/synthesizer.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/model_registry.h"
#include "server/rpc/chunk_message.h"
#include "server/rpc/executor.h"
#include "server/rpc/plausibility_gate.h"
#include "server/rpc/stream_writer.h"
#include "server/rpc/synthesis_plan.h"
#include "server/scheduling/scheduler.h"
#include "server/security/authenticator.h"

namespace synthvol::server {

struct ServiceContext {
  ModelRegistry* registry = nullptr;
  Scheduler* scheduler = nullptr;
  ServerMetrics* metrics = nullptr;
  StreamMonitor* monitor = nullptr;
  const Authenticator* authenticator = nullptr;
  std::shared_ptr<BlockPool> pool;
  // A thread per worker for the SHA-256 of what it sends.
  Executor* hashing = nullptr;
  RequestLimits limits;
  GatePolicy gate;
  uint64_t stream_buffer_bytes = 64 << 20;
  uint32_t queue_limit = 0;
  uint64_t queue_bytes_limit = 0;
  std::vector<model::DeviceSpec> devices;
  // Device index of each worker.
  std::vector<int> device_of_worker;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SERVICE_CONTEXT_H_
