#include "client/cli/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/atomic_file.h"
#include "base/version.h"

namespace synthvol::client {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kWorkFolder[] = ".synthvol";
constexpr uint64_t kMostShards = 1 << 20;

absl::Status SystemError(const std::string& path, const char* action) {
  const std::string message = absl::StrCat(path, ": ", action, ": ", std::strerror(errno));
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
    return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

bool IsManifest(const std::string& name) {
  return absl::StartsWith(name, "manifest") && absl::EndsWith(name, ".json");
}

// Says in words where two requests differ.
std::string Difference(const json& there, const json& here) {
  for (const auto& [key, value] : here.items()) {
    const json other = there.is_object() && there.contains(key) ? there[key] : json();
    if (other != value)
      return absl::StrCat(key, " ", other.dump(), " there, ", value.dump(), " here");
  }
  return "it has more fields";
}

}  // namespace

absl::StatusOr<Shard> ParseShard(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  Shard shard;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &shard.index) ||
      !absl::SimpleAtoi(parts[1], &shard.count) || shard.count < 1 || shard.count > kMostShards ||
      shard.index >= shard.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("--shard ", text, ": expected I/N with 0 <= I < N <= ", kMostShards));
  }
  return shard;
}

OutputFolder::OutputFolder(std::string path, json manifest, std::string suffix)
    : path_(std::move(path)), manifest_(std::move(manifest)), suffix_(std::move(suffix)) {}

OutputFolder::~OutputFolder() {
  if (locked_ && !finished_) RemoveIfUnused();
  if (journal_fd_ >= 0) close(journal_fd_);
  if (lock_fd_ >= 0) close(lock_fd_);
}

void OutputFolder::RemoveIfUnused() {
  std::error_code ignored;
  const absl::MutexLock lock(&mutex_);
  for (fs::directory_iterator it(path_, ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    const std::string path = it->path().string();
    if (path != ManifestPath() && path != JournalPath() && path != work_path()) return;
  }
  for (fs::directory_iterator it(work_path(), ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    if (it->path().filename().string() != absl::StrCat("lock", suffix_)) return;
  }
  if (ignored || !done_.empty()) return;
  for (const std::string& path : {absl::StrCat(work_path(), "/lock", suffix_), work_path(),
                                  ManifestPath(), JournalPath(), path_}) {
    fs::remove(path, ignored);
  }
}

std::string OutputFolder::ManifestPath() const {
  return absl::StrCat(path_, "/manifest", suffix_, ".json");
}
std::string OutputFolder::JournalPath() const {
  return absl::StrCat(path_, "/volumes", suffix_, ".jsonl");
}
std::string OutputFolder::work_path() const { return absl::StrCat(path_, "/", kWorkFolder); }

absl::StatusOr<std::unique_ptr<OutputFolder>> OutputFolder::Open(const std::string& path,
                                                                 const json& request, Shard shard) {
  std::string suffix;
  json manifest = {{"format_version", 1},
                   {"program", absl::StrCat("synthvol ", Build())},
                   {"request", request},
                   {"complete", false}};
  if (shard.count > 1) {
    suffix = absl::StrCat("-", shard.index, "-of-", shard.count);
    manifest["shard"] = {{"index", shard.index}, {"count", shard.count}};
  }
  auto folder =
      std::unique_ptr<OutputFolder>(new OutputFolder(path, std::move(manifest), std::move(suffix)));
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_directory(path, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--output ", path, ": is a file; expected a folder, new or empty"));
  }
  if (absl::Status status = folder->CheckContent(); !status.ok()) return status;
  fs::create_directories(folder->work_path(), error);
  if (error) {
    return absl::InternalError(
        absl::StrCat("--output ", path, ": cannot create: ", error.message()));
  }
  if (absl::Status status = folder->Lock(); !status.ok()) return status;
  // With the lock held: nobody else of this shard writes from here on.
  if (absl::Status status =
          WriteFileAtomically(folder->ManifestPath(), folder->manifest_.dump(2) + "\n");
      !status.ok()) {
    return status;
  }
  if (absl::Status status = folder->ReadJournal(); !status.ok()) return status;
  return folder;
}

absl::Status OutputFolder::Lock() {
  const std::string path = absl::StrCat(work_path(), "/lock", suffix_);
  lock_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_fd_ < 0) return SystemError(path, "cannot open");
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("--output ", path_, ": another synthvol generate is at work in it"));
  }
  locked_ = true;
  return absl::OkStatus();
}

absl::Status OutputFolder::CheckContent() const {
  std::error_code error;
  if (!fs::exists(path_, error)) return absl::OkStatus();
  bool ours = false;
  std::string stranger;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (IsManifest(name)) {
      if (absl::Status status = CheckManifest(it->path().string()); !status.ok()) return status;
      ours = true;
    } else if (name != kWorkFolder && !absl::StrContains(name, ".partial-")) {
      stranger = name;
    }
  }
  if (error)
    return absl::InternalError(
        absl::StrCat("--output ", path_, ": cannot list: ", error.message()));
  if (!ours && !stranger.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("--output ", path_, ": has other content (", stranger,
                     "); expected a new or empty folder, or one that the same request began"));
  }
  return absl::OkStatus();
}

absl::Status OutputFolder::CheckManifest(const std::string& file) const {
  absl::StatusOr<std::string> text = ReadFile(file, 1 << 20);
  if (!text.ok()) return text.status();
  const json manifest = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object() || !manifest.contains("request")) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, ": not a manifest of synthvol generate"));
  }
  if (manifest["request"] != manifest_["request"]) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--output ", path_, ": belongs to another request (",
        Difference(manifest["request"], manifest_["request"]), "); expected a new folder"));
  }
  return absl::OkStatus();
}

absl::Status OutputFolder::ReadJournal() {
  const absl::MutexLock lock(&mutex_);
  const std::string path = JournalPath();
  std::string text;
  std::error_code error;
  if (fs::exists(path, error)) {
    absl::StatusOr<std::string> content = ReadFile(path, 1ULL << 32);
    if (!content.ok()) return content.status();
    text = *std::move(content);
  }
  // A line that was being written when the process died is no line.
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  for (const auto line : absl::StrSplit(text.substr(0, whole), '\n', absl::SkipEmpty())) {
    const json volume = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (!volume.is_object() || !volume.contains("seed") || !volume["seed"].is_number_unsigned() ||
        !volume.contains("files") || !volume["files"].is_array()) {
      continue;
    }
    bool present = true;
    for (const json& file : volume["files"]) {
      const fs::path place = fs::path(path_) / file.value("name", "");
      present &= fs::is_directory(place, error) ||
                 (fs::is_regular_file(place, error) &&
                  fs::file_size(place, error) == file.value("bytes", uint64_t{0}));
    }
    if (present) done_.insert(volume["seed"].get<uint64_t>());
  }
  journal_fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (journal_fd_ < 0) return SystemError(path, "cannot open");
  if (ftruncate(journal_fd_, static_cast<off_t>(whole)) != 0 ||
      lseek(journal_fd_, 0, SEEK_END) < 0) {
    return SystemError(path, "cannot truncate");
  }
  return absl::OkStatus();
}

void OutputFolder::RemoveLeftovers(uint64_t begin, uint64_t end) const {
  std::error_code ignored;
  std::vector<fs::path> leftovers;
  for (const std::string& folder : {path_, work_path()}) {
    for (fs::directory_iterator it(folder, ignored), last; !ignored && it != last;
         it.increment(ignored)) {
      const std::string name = it->path().filename().string();
      if (!absl::StrContains(name, ".partial-")) continue;
      // NAME-seed-000042.nii.gz.partial-PID-N; NAME may hold anything.
      const size_t mark = name.rfind("-seed-");
      const size_t digits = mark == std::string::npos ? 0 : mark + std::strlen("-seed-");
      uint64_t seed = 0;
      const bool volume =
          digits > 0 &&
          absl::SimpleAtoi(name.substr(digits, name.find('.', digits) - digits), &seed);
      const bool manifest =
          absl::StartsWith(name, absl::StrCat("manifest", suffix_, ".json.partial-"));
      if (manifest || (volume && seed >= begin && seed < end)) leftovers.push_back(it->path());
    }
  }
  for (const fs::path& leftover : leftovers) fs::remove_all(leftover, ignored);
}

bool OutputFolder::IsDone(uint64_t seed) const {
  const absl::MutexLock lock(&mutex_);
  return done_.contains(seed);
}

absl::Status OutputFolder::Record(const json& volume) {
  const std::string line = volume.dump() + "\n";
  const absl::MutexLock lock(&mutex_);
  const off_t begin = lseek(journal_fd_, 0, SEEK_CUR);
  if (write(journal_fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      fdatasync(journal_fd_) != 0) {
    absl::Status status = SystemError(JournalPath(), "cannot write");
    // Half a line in the middle would swallow the next one.
    if (ftruncate(journal_fd_, begin) == 0) lseek(journal_fd_, begin, SEEK_SET);
    return status;
  }
  done_.insert(volume["seed"].get<uint64_t>());
  return absl::OkStatus();
}

absl::Status OutputFolder::Finish() {
  manifest_["complete"] = true;
  if (absl::Status status = WriteFileAtomically(ManifestPath(), manifest_.dump(2) + "\n");
      !status.ok()) {
    return status;
  }
  finished_ = true;
  std::error_code ignored;
  fs::remove(absl::StrCat(work_path(), "/lock", suffix_), ignored);
  fs::remove(work_path(), ignored);  // stays while another shard works in it
  return absl::OkStatus();
}

}  // namespace synthvol::client
