#include "server/rpc/server_options.h"

#include <grpcpp/resource_quota.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/atomic_file.h"
#include "server/config/config.h"

namespace synthvol::server {
namespace {

TenantLimits ToLimits(const v1::TenantConfig& config) {
  TenantLimits limits;
  limits.weight = config.weight();
  limits.max_running = config.max_running();
  limits.max_requests = config.max_requests();
  limits.turns_per_second = config.volumes_per_second();
  limits.burst_turns = config.burst_volumes();
  return limits;
}

int Milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(ToDuration(duration)));
}

}  // namespace

absl::StatusOr<std::vector<model::DeviceSpec>> ParseDevices(const v1::WorkersConfig& workers) {
  std::vector<model::DeviceSpec> devices;
  for (const std::string& name : workers.devices()) {
    const absl::StatusOr<model::DeviceSpec> device = model::ParseDevice(name);
    if (!device.ok()) {
      return absl::Status(device.status().code(),
                          absl::StrCat("workers.devices: ", device.status().message()));
    }
    devices.push_back(*device);
  }
  return devices;
}

std::string DeviceName(const model::DeviceSpec& device) {
  return device.cuda ? absl::StrCat("cuda:", device.index) : "cpu";
}

int64_t AvailableMemoryBytes() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  if (const auto limit = ReadFile("/sys/fs/cgroup/memory.max", 64); limit.ok()) {
    int64_t group = 0;
    if (absl::SimpleAtoi(absl::StripAsciiWhitespace(*limit), &group))
      bytes = std::min(bytes, group);
  }
  return bytes;
}

RegistryOptions ToRegistryOptions(const v1::ServerConfig& config,
                                  const std::vector<model::DeviceSpec>& devices) {
  RegistryOptions options;
  options.repository = config.model_repository();
  options.poll_interval = ToDuration(config.models().poll_interval());
  options.device_byte_budget = static_cast<int64_t>(config.models().device_byte_budget());
  const bool any_cuda = std::any_of(devices.begin(), devices.end(),
                                    [](const model::DeviceSpec& device) { return device.cuda; });
  // A GPU says itself when it is full; the CPU would take the machine down.
  if (options.device_byte_budget == 0 && !any_cuda) {
    options.device_byte_budget = AvailableMemoryBytes() / 2;
  }
  options.warmup = config.models().warmup();
  options.render_mode = config.models().render_mode() == "bounded" ? model::RenderMode::kBounded
                                                                   : model::RenderMode::kFast;
  options.cpu_bf16 = config.models().cpu_bf16();
  options.names.assign(config.models().names().begin(), config.models().names().end());
  options.devices = devices;
  options.threads = static_cast<int>(config.workers().threads_per_worker());
  options.workers_per_device = static_cast<int>(config.workers().workers_per_device());
  return options;
}

SchedulerOptions ToSchedulerOptions(const v1::ServerConfig& config) {
  SchedulerOptions options;
  options.max_requests = config.queue().max_requests();
  options.max_bytes = config.queue().max_bytes();
  options.ageing_interval = ToDuration(config.queue().ageing_interval());
  options.default_tenant = ToLimits(config.queue().default_tenant());
  for (const v1::TenantConfig& tenant : config.tenants()) {
    options.tenants[tenant.name()] = ToLimits(tenant);
  }
  options.watchdog_timeout = ToDuration(config.workers().watchdog_timeout());
  return options;
}

GatePolicy ToGatePolicy(const v1::PlausibilityConfig& config) {
  GatePolicy policy;
  if (config.mode() == "tag") policy.mode = GatePolicy::Mode::kTag;
  if (config.mode() == "redraw") policy.mode = GatePolicy::Mode::kRedraw;
  policy.max_redraws = config.max_redraws();
  return policy;
}

void SetConnectionLimits(const v1::ConnectionsConfig& limits, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits.max_request_bytes()));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                             static_cast<int>(limits.max_metadata_bytes()));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             static_cast<int>(limits.max_streams_per_connection()));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(limits.max_idle()));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(limits.max_age()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(limits.keepalive_interval()));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             Milliseconds(limits.keepalive_timeout()));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             Milliseconds(limits.handshake_timeout()));
  // A few kilobytes may unpack to gigabytes, and gRPC measures a message after it has unpacked it.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  // Clients may ping as often as we do.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(limits.keepalive_interval()) / 2);
  builder.SetResourceQuota(
      grpc::ResourceQuota("synthvol").Resize(static_cast<size_t>(limits.max_transport_bytes())));
}

}  // namespace synthvol::server
