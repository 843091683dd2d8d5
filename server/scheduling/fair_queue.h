// The order in which waiting work is taken: fair shares between tenants, and within a tenant
// priorities with ageing.
//
// Between tenants: start-time fair queueing. Each tenant has a virtual time that its dispatched
// work advances by work/weight; the tenant with the smallest one is next. An idle tenant saves
// nothing up: on its return it starts at the virtual time of the tenant served last. Priorities
// hold inside a tenant only, since otherwise marking everything high would be a way around the
// share. Within a tenant: the order is by arrival + level * ageing interval (level 0 is high), so
// waiting one interval is worth one level and nothing starves.
//
// Not thread-safe. Owns copies of what it is given, knows no clock. Push, Remove, Pop and Finish
// are O(log n); WorkAhead is O(tenants with work).
#ifndef SYNTHVOL_SERVER_SCHEDULING_FAIR_QUEUE_H_
#define SYNTHVOL_SERVER_SCHEDULING_FAIR_QUEUE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/time/time.h"

namespace synthvol::server {

enum class Priority { kHigh = 0, kNormal = 1, kLow = 2 };
inline constexpr int kPriorityCount = 3;

// Returns "high", "normal" or "low".
const char* ToString(Priority priority);

class FairQueue {
 public:
  struct Item {
    // Unique among waiting items.
    uint64_t id = 0;
    std::string tenant;
    Priority priority = Priority::kNormal;
    absl::Time arrival;
    // Estimated time that it occupies a worker.
    absl::Duration work;
  };

  // An item that was taken, to be given back to Finish.
  struct Taken {
    uint64_t id = 0;
    std::string tenant;
    absl::Duration charged;
  };

  explicit FairQueue(absl::Duration ageing_interval) : ageing_interval_(ageing_interval) {}

  // Sets a tenant's share (positive) and how much of its work may run at once (0: no limit).
  void SetTenant(const std::string& tenant, double weight, uint32_t max_running);

  void Push(const Item& item);
  // Removes a waiting item; false when it does not wait here.
  bool Remove(uint64_t id);
  // Takes the next item whose tenant may run more; nothing when there is none.
  std::optional<Taken> Pop();
  // Gives back the run slot and corrects the share by the time that was really used.
  void Finish(const Taken& taken, absl::Duration used);

  // Estimates the work that is served before new work of this tenant and priority: what waits
  // before it in its own tenant, and from every other tenant what its share lets by meanwhile.
  // Ageing of lower priorities is left out: an underestimate, so that no deadline is called
  // unreachable that might be met.
  absl::Duration WorkAhead(const std::string& tenant, Priority priority) const;

  size_t size() const { return items_.size(); }
  // Returns the sum of waiting work.
  absl::Duration work() const { return work_; }

 private:
  // Arrival with the priority's handicap, then the order of pushing.
  using Rank = std::pair<absl::Time, uint64_t>;

  struct Tenant {
    double weight = 1.0;
    uint32_t max_running = 0;
    uint32_t running = 0;
    double virtual_time = 0.0;
    std::map<Rank, uint64_t> waiting;
    std::array<absl::Duration, kPriorityCount> waiting_work{};

    bool MayRun() const { return !waiting.empty() && (max_running == 0 || running < max_running); }
  };

  struct Waiting {
    Item item;
    Rank rank;
  };

  // Runs `change` on the tenant and keeps `eligible_` in step.
  template <typename Change>
  void Update(const std::string& name, Change change);

  const absl::Duration ageing_interval_;
  std::unordered_map<std::string, Tenant> tenants_;
  std::set<std::pair<double, std::string>> eligible_;
  std::unordered_map<uint64_t, Waiting> items_;
  absl::Duration work_;
  double virtual_now_ = 0.0;
  uint64_t sequence_ = 0;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SCHEDULING_FAIR_QUEUE_H_
