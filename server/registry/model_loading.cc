// How versions are found, loaded and announced.
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/registry/model_registry.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

std::array<absl::Status, 3> PrecisionsOf(const model::Synthesizer& synthesizer) {
  using model::Precision;
  std::array<absl::Status, 3> precisions;
  for (const Precision p : {Precision::kFp32, Precision::kBf16, Precision::kTf32}) {
    precisions[static_cast<size_t>(p)] = synthesizer.CheckPrecision(p);
  }
  return precisions;
}

// Parses the ranges of the training data that a checkpoint may carry.
absl::StatusOr<std::optional<model::PlausibilityRanges>> PlausibilityOf(
    const model::ModelConfig& config, const std::string& folder) {
  std::optional<model::PlausibilityRanges> ranges;
  if (config.plausibility_json.empty()) return ranges;
  auto parsed = model::PlausibilityRanges::Parse(
      config.plausibility_json, absl::StrCat(folder, "/config.json: plausibility"));
  if (!parsed.ok()) return parsed.status();
  ranges = *std::move(parsed);
  return ranges;
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> ModelRegistry::Merge(
    const RepositoryListing& listing) {
  std::vector<std::pair<std::string, int64_t>> to_load;
  absl::MutexLock lock(&mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto found = listing.find(entry->first);
    auto& versions = entry->second.versions;
    for (auto it = versions.begin(); it != versions.end();) {
      const bool stays = found != listing.end() && found->second.versions.count(it->first) != 0;
      it = stays ? std::next(it) : versions.erase(it);
    }
    entry = versions.empty() ? entries_.erase(entry) : std::next(entry);
  }
  for (const auto& [name, folder] : listing) {
    if (!options_.names.empty() &&
        std::find(options_.names.begin(), options_.names.end(), name) == options_.names.end()) {
      continue;
    }
    Entry& entry = entries_[name];
    // A broken labels file leaves the labels that are in force.
    if (folder.labels_error.empty()) {
      entry.labels = folder.labels;
    } else {
      Log(true, absl::StrCat("model '", name, "': ", folder.labels_error));
    }
    for (const auto& [number, found] : folder.versions) {
      Version& version = entry.versions[number];
      const bool changed = version.folder.signature != found.signature;
      version.folder = found;
      const bool unfinished = version.state == VersionState::kLoading;
      if (unfinished || (changed && version.state != VersionState::kUnloaded)) {
        to_load.emplace_back(name, number);
      }
    }
  }
  return to_load;
}

void ModelRegistry::Poll() {
  const absl::StatusOr<RepositoryListing> listing = ListRepository(options_.repository);
  if (!listing.ok()) {
    // The models in memory go on serving; the repository may come back.
    Log(true, std::string(listing.status().message()));
    return;
  }
  {
    absl::MutexLock poll_lock(&poll_mutex_);
    for (const auto& [name, version] : Merge(*listing)) {
      {
        absl::MutexLock lock(&mutex_);
        if (stopping_) return;
      }
      LoadVersion(name, version).IgnoreError();  // kept and logged as the version's reason
    }
    absl::MutexLock lock(&mutex_);
    settled_ = true;
  }
  Changed();
}

void ModelRegistry::Start() {
  poller_ = std::thread([this] { PollLoop(); });
}

void ModelRegistry::PollLoop() {
  const auto stopping = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_; };
  while (true) {
    Poll();
    absl::MutexLock lock(&mutex_);
    const absl::Duration pause = options_.poll_interval > absl::ZeroDuration()
                                     ? options_.poll_interval
                                     : absl::InfiniteDuration();
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping), pause)) return;
  }
}

absl::Status ModelRegistry::LoadVersion(const std::string& name, int64_t number) {
  VersionFolder folder;
  {
    absl::MutexLock lock(&mutex_);
    folder = entries_.at(name).versions.at(number).folder;
  }
  const absl::Time begin = absl::Now();
  absl::StatusOr<std::shared_ptr<ServableModel>> loaded = LoadGeneration(name, number, folder);
  const std::string subject = absl::StrCat("model '", name, "' version ", number);
  absl::Status result;
  {
    absl::MutexLock lock(&mutex_);
    Version& version = entries_.at(name).versions.at(number);
    if (loaded.ok()) {
      version.servable = *loaded;
      version.state = VersionState::kReady;
      version.reason.clear();
      version.loaded_at = absl::Now();
    } else {
      const std::string why = Public(loaded.status().message());
      const bool old_serves = version.servable != nullptr;
      version.state = old_serves ? VersionState::kReady : VersionState::kFailed;
      version.reason = old_serves ? absl::StrCat("replacement refused: ", why) : why;
      result = WithReason(absl::FailedPreconditionError(absl::StrCat(subject, ": ", why)),
                          "MODEL_REFUSED");
    }
  }
  if (options_.on_load) options_.on_load(name, loaded.ok());
  if (loaded.ok()) {
    Log(false, absl::StrCat(subject, " is ready after ", absl::FormatDuration(absl::Now() - begin),
                            ", digest ", (*loaded)->digest));
  } else {
    Log(true, absl::StrCat(subject, " refused: ", loaded.status().message()));
  }
  Changed();
  return result;
}

absl::StatusOr<std::shared_ptr<ServableModel>> ModelRegistry::LoadGeneration(
    const std::string& name, int64_t version, const VersionFolder& folder) {
  std::shared_ptr<ServableModel> generation;
  for (int device = 0; device < static_cast<int>(options_.devices.size()); ++device) {
    absl::MutexLock device_lock(device_mutexes_[device].get());
    auto synthesizer = LoadOnDevice(folder, device);
    if (!synthesizer.ok()) return synthesizer.status();
    if (generation == nullptr) {
      auto plausibility = PlausibilityOf((*synthesizer)->config(), folder.path);
      if (!plausibility.ok()) return plausibility.status();
      generation = std::make_shared<ServableModel>(
          name, version, folder, (*synthesizer)->config(), (*synthesizer)->digest(),
          PrecisionsOf(**synthesizer), options_.devices.size(), *std::move(plausibility));
    }
    if (options_.warmup) {
      if (absl::Status warm = WarmUp(**synthesizer); !warm.ok()) return warm;
    }
    absl::MutexLock lock(&mutex_);
    ServableModel::Slot& slot = generation->slots_[device];
    slot.bytes = DeviceBytes(**synthesizer);
    slot.last_used = absl::Now();
    slot.synthesizer = *std::move(synthesizer);
    if (device == 0) generations_.push_back(generation);
  }
  return generation;
}

absl::Status ModelRegistry::WarmUp(model::Synthesizer& synthesizer) const {
  const auto latent = model::LatentFromSeed(0, synthesizer.config().latent_dim);
  if (!latent.ok()) return latent.status();
  model::SynthesisInput input;
  input.latent = *latent;
  input.class_label = synthesizer.config().num_classes > 0 ? 0 : -1;
  return synthesizer.Synthesize(input, model::OutputKind::kStored, [this](const model::Slab&) {
    absl::MutexLock lock(&mutex_);
    return stopping_ ? absl::CancelledError("the server stops") : absl::OkStatus();
  });
}

}  // namespace synthvol::server
