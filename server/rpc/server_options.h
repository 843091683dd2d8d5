// From the configuration to the options of the server's parts.
//
// Pure functions, but for AvailableMemoryBytes and ParseDevices, which ask the machine.
#ifndef SYNTHVOL_SERVER_RPC_SERVER_OPTIONS_H_
#define SYNTHVOL_SERVER_RPC_SERVER_OPTIONS_H_

#include <grpcpp/server_builder.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/synthesizer.h"
#include "server/registry/model_registry.h"
#include "server/rpc/plausibility_gate.h"
#include "server/scheduling/scheduler.h"
#include "synthvol/v1/server_config.pb.h"

namespace synthvol::server {

// Returns the devices of workers.devices; an error names the field.
absl::StatusOr<std::vector<model::DeviceSpec>> ParseDevices(const v1::WorkersConfig& workers);
// Returns "cpu" or "cuda:I".
std::string DeviceName(const model::DeviceSpec& device);

// Returns the memory that this process may use: the machine's, or its control group's if less.
int64_t AvailableMemoryBytes();

// Without callbacks.
RegistryOptions ToRegistryOptions(const v1::ServerConfig& config,
                                  const std::vector<model::DeviceSpec>& devices);
// Without workers and callbacks.
SchedulerOptions ToSchedulerOptions(const v1::ServerConfig& config);
GatePolicy ToGatePolicy(const v1::PlausibilityConfig& config);

// Sets limits on connections, messages and gRPC's memory.
void SetConnectionLimits(const v1::ConnectionsConfig& limits, grpc::ServerBuilder& builder);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_SERVER_OPTIONS_H_
