#include "server/registry/model_repository.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"

namespace synthvol::server {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxLabelsBytes = 64 << 10;

// Returns "device:inode:size:mtime" of a file, "-" when it is absent.
std::string FileSignature(const std::string& path, uint64_t* size) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return "-";
  *size = static_cast<uint64_t>(info.st_size);
  return absl::StrCat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec,
                      ".", info.st_mtim.tv_nsec);
}

VersionFolder DescribeVersion(const std::string& path) {
  VersionFolder folder;
  folder.path = path;
  uint64_t config_bytes = 0;
  const std::string config = FileSignature(path + "/config.json", &config_bytes);
  const std::string weights = FileSignature(path + "/model.safetensors", &folder.weight_file_bytes);
  folder.signature = absl::StrCat(config, "|", weights);
  return folder;
}

ModelFolder DescribeModel(const fs::path& path) {
  ModelFolder model;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string leaf = it->path().filename().string();
    std::error_code ignored;
    int64_t version = 0;
    // "007" and "+7" are refused: one version, one folder.
    if (absl::SimpleAtoi(leaf, &version) && version > 0 && absl::StrCat(version) == leaf &&
        it->is_directory(ignored)) {
      model.versions[version] = DescribeVersion(it->path().string());
    }
  }
  const std::string labels_path = (path / "labels.json").string();
  if (!fs::exists(labels_path, error)) return model;
  const auto text = ReadFile(labels_path, kMaxLabelsBytes);
  absl::StatusOr<Labels> labels = text.ok() ? ParseLabels(*text) : text.status();
  if (labels.ok()) {
    model.labels = *std::move(labels);
  } else {
    model.labels_error = std::string(labels.status().message());
  }
  return model;
}

}  // namespace

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= 64 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '.' || c == '-';
         });
}

absl::StatusOr<RepositoryListing> ListRepository(const std::string& root) {
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    return absl::NotFoundError(
        absl::StrCat(root, ": not a folder; expected a model repository NAME/VERSION/"));
  }
  RepositoryListing listing;
  fs::directory_iterator it(root, error);
  for (const fs::directory_iterator end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (!IsName(name) || !it->is_directory(ignored)) continue;
    ModelFolder model = DescribeModel(it->path());
    if (!model.versions.empty()) listing[name] = std::move(model);
  }
  if (error) {
    return absl::PermissionDeniedError(absl::StrCat(root, ": cannot be read: ", error.message()));
  }
  return listing;
}

absl::StatusOr<Labels> ParseLabels(const std::string& json) {
  const nlohmann::json parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(
        "labels.json: expected an object such as {\"stable\": 3, \"canary\": 4}");
  }
  Labels labels;
  for (const auto& [label, version] : parsed.items()) {
    if (!IsName(label)) {
      return absl::InvalidArgumentError(
          "labels.json: a label is 1 to 64 letters, digits, dots, dashes and underscores");
    }
    if (!version.is_number_integer() || version.get<int64_t>() <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("labels.json: label '", label, "' needs a positive version number"));
    }
    labels[label] = version.get<int64_t>();
  }
  return labels;
}

absl::Status WriteLabels(const std::string& root, const std::string& name, const Labels& labels) {
  const std::string path = absl::StrCat(root, "/", name, "/labels.json");
  return WriteFileAtomically(path, nlohmann::json(labels).dump(2) + "\n");
}

}  // namespace synthvol::server
