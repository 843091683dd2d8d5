// Puts a checkpoint's generator into a model repository: REPOSITORY/NAME/VERSION/.
// Free function; concurrent exports take different versions.
#ifndef SYNTHVOL_MODEL_TRAIN_EXPORTER_H_
#define SYNTHVOL_MODEL_TRAIN_EXPORTER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace synthvol::model {

struct ExportRequest {
  // RUN/checkpoints/STEP, or RUN for its newest checkpoint.
  std::string checkpoint;
  std::string repository;
  // Letters, digits, '.', '_' and '-', as the server takes them.
  std::string name;
  // Positive; the next free one when not given.
  std::optional<int64_t> version;
  // Takes the averaged generator.
  bool ema = false;
  // JSON of `synthvol-eval report --gate` on this checkpoint; empty when nobody evaluated it.
  std::string evaluation;
  // Exports a generator that failed its gate, with the failure in its provenance.
  bool record_failure = false;
};

// Returns the folder that appeared, whole. Provenance says whether the generator passed its gate:
// "gate" is "passed", "failed" or "not evaluated". Errors name the file or flag: a checkpoint that
// is not there or damaged, a version that exists, no averaged generator; FAILED_PRECONDITION for an
// evaluation of other weights, and for a failed gate without `record_failure`.
absl::StatusOr<std::string> ExportModel(const ExportRequest& request);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_EXPORTER_H_
