// Fetches the volumes that an OutputFolder lacks, over several streams at once.
//
// Run() blocks and may be called once. Refers to client and folder, owns neither.
#ifndef SYNTHVOL_CLIENT_CLI_GENERATOR_H_
#define SYNTHVOL_CLIENT_CLI_GENERATOR_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/progress_bar.h"
#include "client/cli/output_folder.h"
#include "client/cli/volume_output.h"
#include "client/cli/work_plan.h"
#include "client/client.h"

namespace synthvol::client {

struct GenerateTotals {
  uint64_t made = 0;
  uint64_t already_there = 0;
  // Payload received.
  uint64_t bytes = 0;
  uint64_t retries = 0;
  // From Run() to the first bytes; 0 when there was nothing to fetch.
  double first_slice_seconds = 0;
};

class Generator {
 public:
  // `request` names a pinned version and the whole run's first seed; start and count are set here.
  Generator(Client& client, v1::SynthesizeRequest request, v1::Model model, OutputOptions output,
            OutputFolder& folder, bool quiet);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // Makes the volumes [begin, end) of the run that the folder lacks. Stops at the first error.
  absl::Status Run(uint64_t begin, uint64_t end, uint64_t parallel, const CallOptions& call);

  GenerateTotals totals() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Sink;
  void Work(const CallOptions& call) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Fetch(const Stretch& stretch, const CallOptions& call);
  std::string StemOf(uint64_t volume) const;
  // Counts bytes and whole slices, and shows them.
  void CountData(uint64_t bytes, uint64_t slices) ABSL_LOCKS_EXCLUDED(mutex_);
  void CountRetry(const absl::Status& why, const std::string& next, absl::Duration pause)
      ABSL_LOCKS_EXCLUDED(mutex_);

  Client& client_;
  const v1::SynthesizeRequest request_;
  const v1::Model model_;
  const OutputOptions output_;
  OutputFolder& folder_;
  const bool quiet_;
  absl::Time begun_;
  std::unique_ptr<ProgressBar> bar_;  // synchronises itself
  Cancellation* cancellation_ = nullptr;

  mutable absl::Mutex mutex_;
  std::deque<Stretch> plan_ ABSL_GUARDED_BY(mutex_);
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
  GenerateTotals totals_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_GENERATOR_H_
