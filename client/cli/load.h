// Load on a server and what came of it: the engine of `synthvol bench`.
//
// RunLoad blocks; results are plain values.
#ifndef SYNTHVOL_CLIENT_CLI_LOAD_H_
#define SYNTHVOL_CLIENT_CLI_LOAD_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/client.h"

namespace synthvol::client {

struct LoadOptions {
  // Closed loop: so many requests are always under way. Open loop: at most so many.
  int concurrency = 1;
  // Open loop: requests a second, with exponential gaps; 0 means a closed loop.
  double rate = 0;
  // Stops sending after so many requests or so long, whichever comes first.
  uint64_t requests = 0;
  absl::Duration duration = absl::InfiniteDuration();
  // Not counted, one after the other, before the clock starts.
  uint64_t warmup = 0;
  uint64_t random_seed = 1;
};

struct LoadReport {
  uint64_t sent = 0;
  uint64_t succeeded = 0;
  uint64_t volumes = 0;
  uint64_t bytes = 0;
  double seconds = 0;
  // By code name.
  std::map<std::string, uint64_t> errors;
  // Seconds, of requests that succeeded, sorted. In an open loop from when the request was due, so
  // that a slow server cannot hide by slowing the sender down (coordinated omission).
  std::vector<double> latencies;
  std::vector<double> first_slices;
  // Seconds from sending to RESOURCE_EXHAUSTED, sorted.
  std::vector<double> refusals;
};

// Sends `request` over and over, each time with the next seed.
LoadReport RunLoad(Client& client, const v1::SynthesizeRequest& request, const LoadOptions& options,
                   const CallOptions& call);

// Returns the value below which `share` of the sorted values lie (nearest rank); 0 when there are
// none.
double Percentile(const std::vector<double>& sorted, double share);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_LOAD_H_
