#include "server/rpc/health.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"

namespace synthvol::server {

void Health::Attach(grpc::HealthCheckServiceInterface* service) {
  {
    // gRPC's own service registers no descriptors; naming a message links ours in, for reflection.
    grpc::health::v1::HealthCheckRequest::descriptor();
    absl::MutexLock lock(&mutex_);
    ports_.push_back(service);
  }
  Update();
}

void Health::Detach() {
  absl::MutexLock lock(&mutex_);
  ports_.clear();
}

void Health::Publish(const std::string& name, bool serving) {
  for (grpc::HealthCheckServiceInterface* port : ports_) port->SetServingStatus(name, serving);
}

void Health::Update() {
  absl::MutexLock lock(&mutex_);
  if (ports_.empty() || draining_) return;
  const bool workers = scheduler_->UsableWorkers() > 0;
  std::map<std::string, bool> models;
  for (const std::string& name : published_) models[name] = false;
  bool any_model = false;
  for (const VersionInfo& info : registry_->List()) {
    const bool answers =
        workers && (info.state == VersionState::kReady || info.state == VersionState::kStandby);
    any_model = any_model || answers;
    bool& name_answers = models[absl::StrCat("model/", info.name)];
    name_answers = name_answers || answers;
    models[absl::StrCat("model/", info.name, "@", info.version)] = answers;
  }
  for (const auto& [name, serving] : models) {
    Publish(name, serving);
    published_.insert(name);
  }
  for (const std::string& service : services_) Publish(service, any_model);
  Publish("", any_model);
  Publish("liveness", true);
}

void Health::Drain() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  for (grpc::HealthCheckServiceInterface* port : ports_) port->Shutdown();
}

}  // namespace synthvol::server
