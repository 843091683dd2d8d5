// Makes the folder that readers of a study get, and the key that they do not.
//
// Free function; touches only the two paths it is given.
#ifndef SYNTHVOL_MODEL_EVAL_STUDY_BUILD_H_
#define SYNTHVOL_MODEL_EVAL_STUDY_BUILD_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "model/eval/study/study_files.h"
#include "model/eval/volume_set.h"

namespace synthvol::model {

struct StudyOptions {
  // Pairs of part 1 (real or synthetic) and of part 2 (first or second generator).
  int64_t real_pairs = 10;
  int64_t preference_pairs = 30;
  // "volume": readers scroll in three planes; "slice": one slice a pair, as the paper's readers.
  std::string mode = "volume";
  // Draws volumes, planes, positions and identifiers; anyone who knows it and the inputs can undo
  // the blinding, so it stands in the key alone.
  uint64_t seed = 0;
  std::string first_label = "first";
  std::string second_label = "second";
  // niivue.umd.js to use instead of the one in the binary.
  std::string viewer;
};

// Writes the folder `output` (which must not exist) and the file `key_path`, which must lie outside
// it. Part 1 pairs `real` with `first`, part 2 `first` with `second`; no volume is used twice.
// Volumes are named by hashes, have one header and, padded, one file size. INVALID_ARGUMENT says
// what is missing.
absl::StatusOr<StudyKey> BuildStudy(VolumeSet& real, VolumeSet& first, VolumeSet& second,
                                    const StudyOptions& options, const std::string& output,
                                    const std::string& key_path);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STUDY_BUILD_H_
