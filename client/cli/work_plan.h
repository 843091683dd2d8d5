// Which stretches of a request's volumes are still to be made, in the order to ask for them.
//
// Pure functions and plain values.
#ifndef SYNTHVOL_CLIENT_CLI_WORK_PLAN_H_
#define SYNTHVOL_CLIENT_CLI_WORK_PLAN_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace synthvol::client {

// Volumes [begin, end) of the whole request. All of them lie in the segment that starts at `base`.
struct Stretch {
  uint64_t base = 0;
  uint64_t begin = 0;
  uint64_t end = 0;
  friend bool operator==(const Stretch&, const Stretch&) = default;
};

// A server takes this many volumes in a request unless configured otherwise. Longer requests are
// cut at fixed places, so that a volume belongs to the same request (and DICOM study) however often
// the work was interrupted.
inline constexpr uint64_t kSegment = 1000;

// Plans the volumes [begin, end) that are not `done`, for `parallel` streams at once: no stretch
// crosses a segment, a volume that was `started` stands first in its stretch, and stretches are
// short enough to share out evenly.
std::vector<Stretch> PlanWork(uint64_t begin, uint64_t end, uint64_t parallel,
                              const std::function<bool(uint64_t)>& done,
                              const std::function<bool(uint64_t)>& started);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_WORK_PLAN_H_
