#include "server/scheduling/fair_queue.h"

#include <algorithm>

namespace synthvol::server {

const char* ToString(Priority priority) {
  switch (priority) {
    case Priority::kHigh:
      return "high";
    case Priority::kNormal:
      return "normal";
    case Priority::kLow:
      return "low";
  }
  return "normal";
}

template <typename Change>
void FairQueue::Update(const std::string& name, Change change) {
  Tenant& tenant = tenants_[name];
  if (tenant.MayRun()) eligible_.erase({tenant.virtual_time, name});
  change(tenant);
  if (tenant.MayRun()) eligible_.insert({tenant.virtual_time, name});
}

void FairQueue::SetTenant(const std::string& tenant, double weight, uint32_t max_running) {
  Update(tenant, [&](Tenant& t) {
    t.weight = weight;
    t.max_running = max_running;
  });
}

void FairQueue::Push(const Item& item) {
  const int level = static_cast<int>(item.priority);
  const Rank rank{item.arrival + level * ageing_interval_, ++sequence_};
  items_[item.id] = {item, rank};
  work_ += item.work;
  Update(item.tenant, [&](Tenant& tenant) {
    if (tenant.waiting.empty() && tenant.running == 0) {
      tenant.virtual_time = std::max(tenant.virtual_time, virtual_now_);
    }
    tenant.waiting.emplace(rank, item.id);
    tenant.waiting_work[level] += item.work;
  });
}

bool FairQueue::Remove(uint64_t id) {
  const auto it = items_.find(id);
  if (it == items_.end()) return false;
  const Waiting waiting = it->second;
  items_.erase(it);
  work_ -= waiting.item.work;
  Update(waiting.item.tenant, [&](Tenant& tenant) {
    tenant.waiting.erase(waiting.rank);
    tenant.waiting_work[static_cast<int>(waiting.item.priority)] -= waiting.item.work;
  });
  return true;
}

std::optional<FairQueue::Taken> FairQueue::Pop() {
  if (eligible_.empty()) return std::nullopt;
  const auto [virtual_time, name] = *eligible_.begin();
  const uint64_t id = tenants_[name].waiting.begin()->second;
  const absl::Duration work = items_[id].item.work;
  Remove(id);
  virtual_now_ = std::max(virtual_now_, virtual_time);
  Update(name, [&](Tenant& tenant) {
    ++tenant.running;
    tenant.virtual_time += absl::ToDoubleSeconds(work) / tenant.weight;
  });
  return Taken{id, name, work};
}

void FairQueue::Finish(const Taken& taken, absl::Duration used) {
  Update(taken.tenant, [&](Tenant& tenant) {
    --tenant.running;
    tenant.virtual_time += absl::ToDoubleSeconds(used - taken.charged) / tenant.weight;
  });
}

absl::Duration FairQueue::WorkAhead(const std::string& name, Priority priority) const {
  double own = 0.0;
  double weight = 1.0;
  if (const auto it = tenants_.find(name); it != tenants_.end()) {
    weight = it->second.weight;
    for (int level = 0; level <= static_cast<int>(priority); ++level) {
      own += absl::ToDoubleSeconds(it->second.waiting_work[level]);
    }
  }
  double ahead = own;
  for (const auto& [virtual_time, other] : eligible_) {
    if (other == name) continue;
    const Tenant& tenant = tenants_.at(other);
    double waiting = 0.0;
    for (const absl::Duration level : tenant.waiting_work) {
      waiting += absl::ToDoubleSeconds(level);
    }
    ahead += std::min(waiting, own / weight * tenant.weight);
  }
  return absl::Seconds(ahead);
}

}  // namespace synthvol::server
