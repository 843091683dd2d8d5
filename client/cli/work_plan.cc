#include "client/cli/work_plan.h"

#include <algorithm>

namespace synthvol::client {

std::vector<Stretch> PlanWork(uint64_t begin, uint64_t end, uint64_t parallel,
                              const std::function<bool(uint64_t)>& done,
                              const std::function<bool(uint64_t)>& started) {
  // Four stretches a stream level out unequal speeds without giving up long streams.
  const uint64_t longest =
      parallel <= 1 ? kSegment : std::clamp<uint64_t>((end - begin) / (4 * parallel), 1, kSegment);
  std::vector<Stretch> plan;
  for (uint64_t volume = begin; volume < end; ++volume) {
    if (done(volume)) continue;
    const bool joins = !plan.empty() && plan.back().end == volume && volume % kSegment != 0 &&
                       volume - plan.back().begin < longest && !started(volume);
    if (joins) {
      plan.back().end = volume + 1;
    } else {
      plan.push_back({volume - volume % kSegment, volume, volume + 1});
    }
  }
  return plan;
}

}  // namespace synthvol::client
