#include "server/rpc/model_proto.h"

namespace synthvol::server {
namespace {

v1::ModelState ToProto(VersionState state) {
  switch (state) {
    case VersionState::kLoading:
      return v1::MODEL_STATE_LOADING;
    case VersionState::kReady:
      return v1::MODEL_STATE_READY;
    case VersionState::kStandby:
      return v1::MODEL_STATE_STANDBY;
    case VersionState::kFailed:
      return v1::MODEL_STATE_FAILED;
    case VersionState::kUnloaded:
      return v1::MODEL_STATE_UNLOADED;
  }
  return v1::MODEL_STATE_UNSPECIFIED;
}

}  // namespace

v1::Model ToProto(const VersionInfo& info) {
  v1::Model model;
  model.set_name(info.name);
  model.set_version(info.version);
  model.set_state(ToProto(info.state));
  model.set_state_reason(info.reason);
  for (const std::string& label : info.labels) model.add_labels(label);
  if (info.servable == nullptr) return model;
  const model::ModelConfig& config = info.servable->config;
  model.set_digest(info.servable->digest);
  model.set_architecture(model::ToString(config.architecture));
  model.set_size(static_cast<int32_t>(config.size));
  model.set_latent_dim(static_cast<int32_t>(config.latent_dim));
  model.set_num_classes(static_cast<int32_t>(config.num_classes));
  for (const std::string& name : config.class_names) model.add_class_names(name);
  model.mutable_spacing_mm()->Add(config.spacing.begin(), config.spacing.end());
  model.set_window_low(config.window.low);
  model.set_window_high(config.window.high);
  model.set_modality(config.modality);
  model.mutable_provenance()->insert(config.provenance.begin(), config.provenance.end());
  const int64_t nanos = absl::ToUnixNanos(info.loaded_at);
  model.mutable_loaded_at()->set_seconds(nanos / 1000000000);
  model.mutable_loaded_at()->set_nanos(static_cast<int32_t>(nanos % 1000000000));
  return model;
}

}  // namespace synthvol::server
