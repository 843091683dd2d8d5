#include "imaging/io/progress_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"

namespace synthvol::imaging {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kLogName = "/prepare.jsonl";
constexpr const char* kLockName = "/.lock";
constexpr const char* kVolumes = "/volumes";

Json ToJson(const PrepareSettings& settings) {
  return {{"format", "synthvol-prepare-log"},
          {"version", 1},
          {"size", settings.size},
          {"modality", settings.modality},
          {"window_rule", settings.window_rule},
          {"train_fraction", settings.train_fraction},
          {"split_seed", settings.split_seed}};
}

PrepareSettings SettingsOf(const DatasetManifest& manifest) {
  return {manifest.size, manifest.modality, manifest.window_rule, manifest.train_fraction,
          manifest.split_seed};
}

// Names the first setting that differs.
absl::Status CheckSame(const std::string& dir, const Json& there, const PrepareSettings& settings) {
  const Json asked = ToJson(settings);
  for (const auto& [key, value] : asked.items()) {
    if (there.is_object() && there.contains(key) && there[key] == value) continue;
    const std::string found = there.is_object() && there.contains(key) ? there[key].dump() : "none";
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": was prepared with ", key, " ", found, ", this run asks for ",
                     value.dump(), "; expected the same settings or another folder"));
  }
  return absl::OkStatus();
}

// Tells whether the folder is empty or one of ours.
absl::Status CheckContent(const std::string& dir) {
  std::error_code error;
  const bool ours = fs::exists(dir + kLogName, error) || fs::exists(ManifestPath(dir), error);
  if (ours) return absl::OkStatus();
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    if (name == ".lock" || name == "volumes" || absl::StrContains(name, ".partial-")) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": exists with other content (", name,
                     "); expected a new folder or one that synthvol-prepare made"));
  }
  return absl::OkStatus();
}

// Files that a killed run left half-written.
void RemovePartialFiles(const std::string& dir) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    if (absl::StrContains(entry.path().filename().string(), ".partial-")) {
      fs::remove(entry.path(), error);
    }
  }
}

absl::Status CannotWrite(const std::string& path, int error) {
  const std::string message = absl::StrCat(path, ": cannot write: ", std::strerror(error));
  return error == ENOSPC ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

}  // namespace

ProgressLog::ProgressLog(std::string dir, int lock_fd)
    : dir_(std::move(dir)), lock_fd_(lock_fd), mutex_(std::make_unique<std::mutex>()) {}

ProgressLog::ProgressLog(ProgressLog&& other) noexcept
    : dir_(other.dir_),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      log_fd_(std::exchange(other.log_fd_, -1)),
      done_(std::move(other.done_)),
      mutex_(std::move(other.mutex_)) {}

ProgressLog::~ProgressLog() {
  if (log_fd_ >= 0) close(log_fd_);
  if (lock_fd_ < 0) return;
  unlink((dir_ + kLockName).c_str());
  close(lock_fd_);
}

absl::StatusOr<ProgressLog> ProgressLog::Open(const std::string& dir,
                                              const PrepareSettings& settings) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) {
    return absl::InternalError(absl::StrCat(dir, ": cannot create: ", error.message()));
  }
  const std::string lock_path = dir + kLockName;
  const int fd = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return CannotWrite(lock_path, errno);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    close(fd);
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": another synthvol-prepare is filling this folder"));
  }
  ProgressLog log(dir, fd);
  if (absl::Status status = CheckContent(dir); !status.ok()) return status;
  if (!fs::create_directories(dir + kVolumes, error) && error) {
    return absl::InternalError(absl::StrCat(dir, kVolumes, ": cannot create: ", error.message()));
  }
  RemovePartialFiles(dir);
  RemovePartialFiles(dir + kVolumes);
  if (absl::Status status = log.Load(settings); !status.ok()) return status;
  if (absl::Status status = log.Start(settings); !status.ok()) return status;
  return log;
}

absl::Status ProgressLog::Load(const PrepareSettings& settings) {
  if (std::error_code error; fs::exists(dir_ + kLogName, error)) return LoadLog(settings);
  absl::StatusOr<DatasetManifest> manifest = ReadManifest(dir_);
  if (absl::IsNotFound(manifest.status())) return absl::OkStatus();
  if (!manifest.ok()) return manifest.status();
  for (const DatasetItem& item : manifest->items) done_[item.source] = item;
  return CheckSame(dir_, ToJson(SettingsOf(*manifest)), settings);
}

absl::Status ProgressLog::LoadLog(const PrepareSettings& settings) {
  std::ifstream file(dir_ + kLogName);
  std::string line;
  if (!std::getline(file, line)) return absl::OkStatus();
  const Json there = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (absl::Status status = CheckSame(dir_, there, settings); !status.ok()) return status;
  while (std::getline(file, line)) {
    absl::StatusOr<DatasetItem> item = ParseDatasetItem(line, dir_ + kLogName);
    // The last line may be cut where the run was stopped; its volume is simply prepared again.
    if (!item.ok()) continue;
    const std::string source = item->source;
    done_[source] = *std::move(item);
  }
  return absl::OkStatus();
}

absl::Status ProgressLog::Start(const PrepareSettings& settings) {
  std::string text = ToJson(settings).dump() + "\n";
  for (const auto& [source, item] : done_) text += imaging::ToJson(item) + "\n";
  const std::string path = dir_ + kLogName;
  if (absl::Status status = WriteFileAtomically(path, text); !status.ok()) return status;
  log_fd_ = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (log_fd_ < 0) return CannotWrite(path, errno);
  // From here on the log is the truth: the volumes may change under an old manifest.
  std::error_code ignored;
  fs::remove(ManifestPath(dir_), ignored);
  return absl::OkStatus();
}

absl::Status ProgressLog::Add(const DatasetItem& item) {
  const std::string line = imaging::ToJson(item) + "\n";
  const std::lock_guard lock(*mutex_);
  const ssize_t written = write(log_fd_, line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) return absl::OkStatus();
  return CannotWrite(dir_ + kLogName, written < 0 ? errno : ENOSPC);
}

absl::Status ProgressLog::Finish(const DatasetManifest& manifest) {
  if (absl::Status status = WriteManifest(dir_, manifest); !status.ok()) return status;
  std::error_code ignored;
  fs::remove(dir_ + kLogName, ignored);
  return absl::OkStatus();
}

}  // namespace synthvol::imaging
