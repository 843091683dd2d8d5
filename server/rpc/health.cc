#include "server/rpc/health.h"

#include <map>

#include "absl/strings/str_cat.h"

namespace synthvol::server {

void Health::Attach(grpc::HealthCheckServiceInterface* service) {
  {
    absl::MutexLock lock(&mutex_);
    service_ = service;
  }
  Update();
}

void Health::Update() {
  absl::MutexLock lock(&mutex_);
  if (service_ == nullptr || draining_) return;
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
    service_->SetServingStatus(name, serving);
    published_.insert(name);
  }
  for (const std::string& service : services_) service_->SetServingStatus(service, any_model);
  service_->SetServingStatus("", any_model);
}

void Health::Drain() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  if (service_ != nullptr) service_->Shutdown();
}

}  // namespace synthvol::server
