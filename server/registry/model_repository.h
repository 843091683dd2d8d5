// The model repository on disk: REPOSITORY/NAME/VERSION/{config.json,model.safetensors} and
// REPOSITORY/NAME/labels.json, e.g. {"stable": 3, "canary": 4}.
//
// Free functions without state. What is not named like a model or a version is passed over, so that
// temporary folders of writers may stand beside the finished ones.
#ifndef SYNTHVOL_SERVER_REGISTRY_MODEL_REPOSITORY_H_
#define SYNTHVOL_SERVER_REGISTRY_MODEL_REPOSITORY_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace synthvol::server {

// One VERSION folder.
struct VersionFolder {
  std::string path;
  // Changes when one of the files is replaced.
  std::string signature;
  uint64_t weight_file_bytes = 0;
};

using Labels = std::map<std::string, int64_t>;

struct ModelFolder {
  std::map<int64_t, VersionFolder> versions;
  Labels labels;
  // Says what is wrong with labels.json; empty when nothing is.
  std::string labels_error;
};

using RepositoryListing = std::map<std::string, ModelFolder>;

// Returns whether `name` may name a model, label, tenant or destination: [A-Za-z0-9_.-]{1,64}, not
// starting with a dot.
bool IsName(absl::string_view name);

// Lists what stands in `root`. NOT_FOUND or PERMISSION_DENIED name the folder.
absl::StatusOr<RepositoryListing> ListRepository(const std::string& root);

// Parses labels.json; INVALID_ARGUMENT says what is wrong.
absl::StatusOr<Labels> ParseLabels(const std::string& json);
// Replaces ROOT/NAME/labels.json atomically.
absl::Status WriteLabels(const std::string& root, const std::string& name, const Labels& labels);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_REGISTRY_MODEL_REPOSITORY_H_
