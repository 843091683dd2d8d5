// The models that a server holds: finds them in the repository, loads and warms them up before they
// answer, keeps the old generation while a new one is bad, and unloads the least recently used ones
// under a byte budget.
//
// Life of a version:
//
//   found --> LOADING --ok--> READY <--load by the next request-- STANDBY
//                |              |  \------over the byte budget------^
//                |              +--Unload()--> UNLOADED --Load()--> LOADING
//                +--error--> FAILED --files replaced, or Load()--> LOADING
//
// A READY version whose files are replaced stays READY with its old generation until the new one
// passed its warm-up; a bad new one is refused and named in `reason`. A version whose folder
// vanishes is dropped; streams that run finish, since they share the generation.
//
// Thread-safe. Owns the polling thread and all synthesizers. `on_change` is called without locks.
#ifndef SYNTHVOL_SERVER_REGISTRY_MODEL_REGISTRY_H_
#define SYNTHVOL_SERVER_REGISTRY_MODEL_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/synthesizer.h"
#include "server/registry/model_repository.h"
#include "server/registry/servable_model.h"

namespace synthvol::server {

enum class VersionState { kLoading, kReady, kStandby, kFailed, kUnloaded };

struct RegistryOptions {
  std::string repository;
  // Zero: looks once, then never again.
  absl::Duration poll_interval = absl::Seconds(2);
  // Bytes per device; 0 sets no limit.
  int64_t device_byte_budget = 0;
  bool warmup = true;
  model::RenderMode render_mode = model::RenderMode::kFast;
  // As model::SynthesizerOptions::cpu_bf16.
  bool cpu_bf16 = false;
  // Only these models; empty for all.
  std::vector<std::string> names;
  std::vector<model::DeviceSpec> devices = {model::DeviceSpec{}};
  int threads = 0;
  // Syntheses at once on each device: their workspaces count against the budget.
  int workers_per_device = 1;
  // Called after any version changed its state.
  std::function<void()> on_change;
  // Called after each attempt to load a version.
  std::function<void(const std::string& model, bool ok)> on_load;
  // Called with one line for the log.
  std::function<void(bool is_error, const std::string& message)> log;
};

// What a request asks for; the newest when neither is set.
struct ModelChoice {
  std::string name;
  int64_t version = 0;
  std::string label;
};

// A version as the world sees it.
struct VersionInfo {
  std::string name;
  int64_t version = 0;
  VersionState state = VersionState::kLoading;
  // Why it failed, or why its replacement was refused.
  std::string reason;
  std::vector<std::string> labels;
  absl::Time loaded_at;
  // Null until it was loaded once.
  std::shared_ptr<const ServableModel> servable;
};

class ModelRegistry {
 public:
  // Looks at the repository once; an error names it. Loading begins with Start.
  static absl::StatusOr<std::unique_ptr<ModelRegistry>> Create(RegistryOptions options);
  ~ModelRegistry();
  ModelRegistry(const ModelRegistry&) = delete;
  ModelRegistry& operator=(const ModelRegistry&) = delete;

  // Starts the thread that loads and polls.
  void Start();
  // Ends that thread; callbacks are not called afterwards.
  void Stop();
  // Looks at the repository now and loads what is new; returns when that is done.
  void Poll() ABSL_LOCKS_EXCLUDED(poll_mutex_, mutex_);
  // Returns whether everything that was found has been loaded or refused.
  bool Settled() const;

  std::vector<VersionInfo> List() const;
  // Describes one version, whatever its state; NOT_FOUND when there is none.
  absl::StatusOr<VersionInfo> Describe(const ModelChoice& choice) const;
  // Chooses a version that answers: NOT_FOUND, UNAVAILABLE while it loads, FAILED_PRECONDITION when
  // it was refused.
  absl::StatusOr<std::shared_ptr<ServableModel>> Select(const ModelChoice& choice) const;
  // Returns the generator on a device, loading it first where it is not resident; blocks.
  absl::StatusOr<ModelLease> Pin(const std::shared_ptr<ServableModel>& servable, int device);

  // Loads a version that stands in the repository, also one that failed or was unloaded; returns
  // its refusal.
  absl::Status Load(const std::string& name, int64_t version)
      ABSL_LOCKS_EXCLUDED(poll_mutex_, mutex_);
  // Takes a version out of service; running streams finish.
  absl::Status Unload(const std::string& name, int64_t version);
  // Points a label at a version (0 removes it), in the repository's labels.json.
  absl::Status SetLabel(const std::string& name, const std::string& label, int64_t version);
  // Drops what is loaded on a device after a fault; the next Pin loads it again.
  void DropDevice(int device);

  // Returns bytes of resident weights on a device.
  int64_t ResidentBytes(int device) const;
  int64_t device_byte_budget() const { return options_.device_byte_budget; }
  size_t ResidentModels() const;

 private:
  friend class ModelLease;

  struct Version {
    VersionFolder folder;
    VersionState state = VersionState::kLoading;
    std::string reason;
    absl::Time loaded_at;
    std::shared_ptr<ServableModel> servable;
  };

  struct Entry {
    std::map<int64_t, Version> versions;
    Labels labels;
  };

  explicit ModelRegistry(RegistryOptions options);

  // Brings the entries in step with a listing; returns what is to be loaded.
  std::vector<std::pair<std::string, int64_t>> Merge(const RepositoryListing& listing)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status LoadVersion(const std::string& name, int64_t version)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(poll_mutex_) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::shared_ptr<ServableModel>> LoadGeneration(const std::string& name,
                                                                int64_t version,
                                                                const VersionFolder& folder);
  absl::Status WarmUp(model::Synthesizer& synthesizer) const;
  absl::StatusOr<std::unique_ptr<model::Synthesizer>> LoadOnDevice(const VersionFolder& folder,
                                                                   int device);
  // Unloads least recently used generators until `bytes` more fit; false when they cannot.
  bool MakeRoom(int device, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ModelLease Lease(const std::shared_ptr<ServableModel>& servable, int device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unpin(ServableModel& servable, int device) ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t DeviceBytes(const model::Synthesizer& synthesizer) const;
  absl::StatusOr<const Version*> Find(const ModelChoice& choice, int64_t* number) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  VersionInfo Info(const std::string& name, int64_t number, const Version& version) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Returns a message without the server's folders: callers see it.
  std::string Public(absl::string_view message) const;
  void Log(bool is_error, const std::string& message) const;
  void Changed() const;
  void PollLoop();

  const RegistryOptions options_;

  // Held while versions are loaded, so that one thread loads at a time; before mutex_.
  absl::Mutex poll_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  // One a device, held while weights are brought onto it; before mutex_.
  std::vector<std::unique_ptr<absl::Mutex>> device_mutexes_;

  mutable absl::Mutex mutex_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  // Every generation that may be resident, by device budget; expired ones are dropped on the way.
  std::vector<std::weak_ptr<ServableModel>> generations_ ABSL_GUARDED_BY(mutex_);
  bool settled_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread poller_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_REGISTRY_MODEL_REGISTRY_H_
