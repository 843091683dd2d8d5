#include "server/registry/model_registry.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

absl::Status NoModel(const std::string& name) {
  return WithReason(absl::NotFoundError(absl::StrCat("no model '", name, "'; ListModels has them")),
                    "MODEL_NOT_FOUND");
}

absl::Status NoVersion(const std::string& name, int64_t version) {
  return WithReason(
      absl::NotFoundError(absl::StrCat("model '", name, "' has no version ", version)),
      "MODEL_VERSION_NOT_FOUND");
}

bool Answers(VersionState state) {
  return state == VersionState::kReady || state == VersionState::kStandby;
}

// Returns why a version that does not answer does not.
absl::Status WhyNot(const std::string& name, int64_t version, VersionState state) {
  const std::string subject = absl::StrCat("model '", name, "' version ", version);
  switch (state) {
    case VersionState::kLoading:
      return WithRetryAfter(
          WithReason(absl::UnavailableError(absl::StrCat(subject, " is being loaded")),
                     "MODEL_LOADING"),
          absl::Seconds(1));
    case VersionState::kUnloaded:
      return WithReason(absl::NotFoundError(absl::StrCat(subject, " was taken out of service")),
                        "MODEL_UNLOADED");
    default:
      return WithReason(absl::FailedPreconditionError(absl::StrCat(
                            subject, " could not be loaded; ListModels says why in state_reason")),
                        "MODEL_REFUSED");
  }
}

}  // namespace

ModelLease::~ModelLease() {
  if (registry_ != nullptr) registry_->Unpin(*servable_, device_);
}

ModelRegistry::ModelRegistry(RegistryOptions options) : options_(std::move(options)) {
  for (size_t i = 0; i < options_.devices.size(); ++i) {
    device_mutexes_.push_back(std::make_unique<absl::Mutex>());
  }
}

absl::StatusOr<std::unique_ptr<ModelRegistry>> ModelRegistry::Create(RegistryOptions options) {
  const absl::StatusOr<RepositoryListing> listing = ListRepository(options.repository);
  if (!listing.ok()) return listing.status();
  std::unique_ptr<ModelRegistry> registry(new ModelRegistry(std::move(options)));
  registry->Merge(*listing);
  return registry;
}

ModelRegistry::~ModelRegistry() { Stop(); }

void ModelRegistry::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (poller_.joinable()) poller_.join();
}

bool ModelRegistry::Settled() const {
  absl::MutexLock lock(&mutex_);
  return settled_;
}

VersionInfo ModelRegistry::Info(const std::string& name, int64_t number,
                                const Version& version) const {
  VersionInfo info;
  info.name = name;
  info.version = number;
  info.state = version.state;
  info.reason = version.reason;
  info.loaded_at = version.loaded_at;
  info.servable = version.servable;
  if (info.state == VersionState::kReady) {
    const auto& slots = version.servable->slots_;
    const bool resident = std::any_of(slots.begin(), slots.end(),
                                      [](const auto& slot) { return slot.synthesizer != nullptr; });
    if (!resident) info.state = VersionState::kStandby;
  }
  for (const auto& [label, target] : entries_.at(name).labels) {
    if (target == number) info.labels.push_back(label);
  }
  return info;
}

std::vector<VersionInfo> ModelRegistry::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<VersionInfo> all;
  for (const auto& [name, entry] : entries_) {
    for (const auto& [number, version] : entry.versions) all.push_back(Info(name, number, version));
  }
  return all;
}

absl::StatusOr<const ModelRegistry::Version*> ModelRegistry::Find(const ModelChoice& choice,
                                                                  int64_t* number) const {
  const auto entry = entries_.find(choice.name);
  if (entry == entries_.end()) return NoModel(choice.name);
  const auto& versions = entry->second.versions;
  const Labels& labels = entry->second.labels;
  int64_t wanted = choice.version;
  if (!choice.label.empty()) {
    const auto label = labels.find(choice.label);
    if (label == labels.end()) {
      return WithReason(absl::NotFoundError(absl::StrCat("model '", choice.name, "' has no label '",
                                                         choice.label, "'")),
                        "MODEL_LABEL_NOT_FOUND");
    }
    wanted = label->second;
  } else if (wanted == 0) {
    if (const auto stable = labels.find("stable"); stable != labels.end()) wanted = stable->second;
  }
  if (wanted == 0) {
    // The newest that answers; when none does, the newest, which says why.
    const auto newest = std::find_if(versions.rbegin(), versions.rend(), [](const auto& version) {
      return Answers(version.second.state);
    });
    wanted = newest == versions.rend() ? versions.rbegin()->first : newest->first;
  }
  const auto version = versions.find(wanted);
  if (version == versions.end()) return NoVersion(choice.name, wanted);
  *number = wanted;
  return &version->second;
}

absl::StatusOr<VersionInfo> ModelRegistry::Describe(const ModelChoice& choice) const {
  absl::MutexLock lock(&mutex_);
  int64_t number = 0;
  const auto version = Find(choice, &number);
  if (!version.ok()) return version.status();
  return Info(choice.name, number, **version);
}

absl::StatusOr<std::shared_ptr<ServableModel>> ModelRegistry::Select(
    const ModelChoice& choice) const {
  absl::MutexLock lock(&mutex_);
  int64_t number = 0;
  const auto version = Find(choice, &number);
  if (!version.ok()) return version.status();
  if (!Answers((*version)->state)) return WhyNot(choice.name, number, (*version)->state);
  return (*version)->servable;
}

absl::Status ModelRegistry::Load(const std::string& name, int64_t version) {
  const absl::StatusOr<RepositoryListing> listing = ListRepository(options_.repository);
  if (!listing.ok()) {
    Log(true, std::string(listing.status().message()));
    return absl::UnavailableError("the model repository cannot be read");
  }
  absl::MutexLock poll_lock(&poll_mutex_);
  Merge(*listing);
  {
    absl::MutexLock lock(&mutex_);
    const auto entry = entries_.find(name);
    if (entry == entries_.end()) return NoModel(name);
    const auto it = entry->second.versions.find(version);
    if (it == entry->second.versions.end()) return NoVersion(name, version);
    if (it->second.servable == nullptr || it->second.state == VersionState::kUnloaded) {
      it->second.state = VersionState::kLoading;
    }
  }
  return LoadVersion(name, version);
}

absl::Status ModelRegistry::Unload(const std::string& name, int64_t version) {
  {
    absl::MutexLock poll_lock(&poll_mutex_);
    absl::MutexLock lock(&mutex_);
    const auto entry = entries_.find(name);
    if (entry == entries_.end()) return NoModel(name);
    const auto it = entry->second.versions.find(version);
    if (it == entry->second.versions.end()) return NoVersion(name, version);
    it->second.state = VersionState::kUnloaded;
    it->second.reason = "unloaded by an administrator";
    it->second.servable = nullptr;
  }
  Changed();
  return absl::OkStatus();
}

absl::Status ModelRegistry::SetLabel(const std::string& name, const std::string& label,
                                     int64_t version) {
  {
    absl::MutexLock poll_lock(&poll_mutex_);
    Labels labels;
    {
      absl::MutexLock lock(&mutex_);
      const auto entry = entries_.find(name);
      if (entry == entries_.end()) return NoModel(name);
      if (version != 0 && entry->second.versions.count(version) == 0) {
        return NoVersion(name, version);
      }
      labels = entry->second.labels;
    }
    if (version == 0) {
      labels.erase(label);
    } else {
      labels[label] = version;
    }
    // On disk first: what a restart would read is what is served.
    if (const absl::Status written = WriteLabels(options_.repository, name, labels);
        !written.ok()) {
      Log(true, std::string(written.message()));
      return WithReason(
          absl::FailedPreconditionError("labels.json cannot be written; is the repository "
                                        "mounted read-only?"),
          "REPOSITORY_READ_ONLY");
    }
    absl::MutexLock lock(&mutex_);
    entries_[name].labels = labels;
  }
  Changed();
  return absl::OkStatus();
}

int64_t ModelRegistry::ResidentBytes(int device) const {
  absl::MutexLock lock(&mutex_);
  int64_t bytes = 0;
  for (const auto& weak : generations_) {
    if (const auto generation = weak.lock()) bytes += generation->slots_[device].bytes;
  }
  return bytes;
}

size_t ModelRegistry::ResidentModels() const {
  absl::MutexLock lock(&mutex_);
  size_t count = 0;
  for (const auto& weak : generations_) {
    const auto generation = weak.lock();
    if (generation == nullptr) continue;
    for (const auto& slot : generation->slots_) count += slot.synthesizer != nullptr ? 1 : 0;
  }
  return count;
}

std::string ModelRegistry::Public(absl::string_view message) const {
  return absl::StrReplaceAll(message, {{options_.repository, "REPOSITORY"}});
}

void ModelRegistry::Log(bool is_error, const std::string& message) const {
  if (options_.log) options_.log(is_error, message);
}

void ModelRegistry::Changed() const {
  if (options_.on_change) options_.on_change();
}

}  // namespace synthvol::server
