// What is in the devices' memory: generators come, are pinned, and leave under the byte budget.
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/registry/model_registry.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {

int64_t ModelRegistry::DeviceBytes(const model::Synthesizer& synthesizer) const {
  return synthesizer.WeightBytes() +
         options_.workers_per_device * synthesizer.EstimateWorkspaceBytes(model::Precision::kFp32);
}

absl::StatusOr<std::unique_ptr<model::Synthesizer>> ModelRegistry::LoadOnDevice(
    const VersionFolder& folder, int device) {
  const model::SynthesizerOptions options{options_.devices[device], options_.threads,
                                          options_.render_mode, options_.cpu_bf16};
  {
    absl::MutexLock lock(&mutex_);
    MakeRoom(device, static_cast<int64_t>(folder.weight_file_bytes));
  }
  auto loaded = model::Synthesizer::Load(folder.path, options);
  if (loaded.status().code() == absl::StatusCode::kResourceExhausted) {
    // The device is fuller than the budget knows: give everything back that nobody runs.
    {
      absl::MutexLock lock(&mutex_);
      MakeRoom(device, INT64_MAX / 2);
    }
    loaded = model::Synthesizer::Load(folder.path, options);
  }
  if (!loaded.ok()) return loaded.status();
  const int64_t bytes = DeviceBytes(**loaded);
  absl::MutexLock lock(&mutex_);
  if (!MakeRoom(device, bytes)) {
    return WithQuotaSubject(
        WithReason(absl::ResourceExhaustedError(absl::StrCat("the model needs ", bytes,
                                                             " bytes of the device, its budget is ",
                                                             options_.device_byte_budget)),
                   "MEMORY_BUDGET"),
        "device:bytes");
  }
  return loaded;
}

bool ModelRegistry::MakeRoom(int device, int64_t bytes) {
  const int64_t budget = options_.device_byte_budget;
  const bool unlimited = budget == 0 && bytes < INT64_MAX / 2;
  if (unlimited) return true;
  while (true) {
    int64_t resident = 0;
    ServableModel::Slot* oldest = nullptr;
    for (auto it = generations_.begin(); it != generations_.end();) {
      const std::shared_ptr<ServableModel> generation = it->lock();
      if (generation == nullptr) {
        it = generations_.erase(it);
        continue;
      }
      ServableModel::Slot& slot = generation->slots_[device];
      resident += slot.bytes;
      const bool idle = slot.synthesizer != nullptr && slot.pins == 0;
      if (idle && (oldest == nullptr || slot.last_used < oldest->last_used)) oldest = &slot;
      ++it;
    }
    if (bytes <= budget - resident) return true;
    if (oldest == nullptr) return false;
    oldest->synthesizer.reset();
    oldest->bytes = 0;
  }
}

ModelLease ModelRegistry::Lease(const std::shared_ptr<ServableModel>& servable, int device) {
  ServableModel::Slot& slot = servable->slots_[device];
  ++slot.pins;
  slot.last_used = absl::Now();
  return ModelLease(this, servable, device, slot.synthesizer.get());
}

absl::StatusOr<ModelLease> ModelRegistry::Pin(const std::shared_ptr<ServableModel>& servable,
                                              int device) {
  {
    absl::MutexLock lock(&mutex_);
    if (servable->slots_[device].synthesizer != nullptr) return Lease(servable, device);
  }
  absl::MutexLock device_lock(device_mutexes_[device].get());
  {
    absl::MutexLock lock(&mutex_);
    if (servable->slots_[device].synthesizer != nullptr) return Lease(servable, device);
  }
  auto synthesizer = LoadOnDevice(servable->folder, device);
  if (!synthesizer.ok()) {
    Log(true, absl::StrCat("model '", servable->name, "' version ", servable->version,
                           " cannot be loaded again: ", synthesizer.status().message()));
    if (ReasonOf(synthesizer.status()) == "MEMORY_BUDGET") {
      return WithRetryAfter(synthesizer.status(), absl::Seconds(5));
    }
    return WithReason(absl::UnavailableError("the model cannot be loaded again"), "MODEL_LOADING");
  }
  if ((*synthesizer)->digest() != servable->digest) {
    // The stream began with other weights: mixing them in would break its bytes.
    return WithReason(absl::AbortedError("the model was replaced while the request waited"),
                      "MODEL_REPLACED");
  }
  absl::MutexLock lock(&mutex_);
  ServableModel::Slot& slot = servable->slots_[device];
  slot.bytes = DeviceBytes(**synthesizer);
  slot.synthesizer = *std::move(synthesizer);
  return Lease(servable, device);
}

void ModelRegistry::Unpin(ServableModel& servable, int device) {
  absl::MutexLock lock(&mutex_);
  ServableModel::Slot& slot = servable.slots_[device];
  --slot.pins;
  slot.last_used = absl::Now();
}

void ModelRegistry::DropDevice(int device) {
  absl::MutexLock device_lock(device_mutexes_[device].get());
  absl::MutexLock lock(&mutex_);
  for (const auto& weak : generations_) {
    const std::shared_ptr<ServableModel> generation = weak.lock();
    if (generation == nullptr) continue;
    ServableModel::Slot& slot = generation->slots_[device];
    if (slot.pins != 0) continue;
    slot.synthesizer.reset();
    slot.bytes = 0;
  }
}

}  // namespace synthvol::server
