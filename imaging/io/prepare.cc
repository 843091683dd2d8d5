#include "imaging/io/prepare.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/atomic_file.h"
#include "base/checksum.h"
#include "base/progress_bar.h"
#include "imaging/io/image_file.h"
#include "imaging/io/memory_gate.h"
#include "imaging/io/progress_log.h"
#include "imaging/io/scan.h"
#include "imaging/io/split.h"
#include "imaging/npy.h"
#include "imaging/phantom.h"

namespace synthvol::imaging {
namespace {

constexpr int64_t kMinSize = 16;
constexpr int64_t kMaxSize = 512;
constexpr int kMaxJobs = 256;
constexpr int64_t kMaxPhantoms = 1'000'000;
// Changes when the same seed draws another picture, so that a rerun notices.
constexpr int kPhantomVersion = 1;

// One volume to be.
struct Source {
  std::string name;
  std::string patient;
  std::function<absl::StatusOr<std::string>()> digest;
  std::function<absl::StatusOr<int64_t>()> memory;
  // Returns the volume and, for a phantom, its class.
  std::function<absl::StatusOr<FloatVolume>(std::optional<int64_t>* label)> read;
};

absl::Status CheckOptions(const PrepareOptions& options) {
  if (options.inputs.empty() == (options.phantom_count == 0)) {
    return absl::InvalidArgumentError("expected exactly one of --input and --phantom");
  }
  if (options.phantom_count < 0 || options.phantom_count > kMaxPhantoms) {
    return absl::InvalidArgumentError(
        absl::StrCat("--phantom: ", options.phantom_count, "; expected 1..", kMaxPhantoms));
  }
  if (options.size < kMinSize || options.size > kMaxSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("--size: ", options.size, "; expected ", kMinSize, "..", kMaxSize));
  }
  if (options.jobs < 1 || options.jobs > kMaxJobs) {
    return absl::InvalidArgumentError(
        absl::StrCat("--jobs: ", options.jobs, "; expected 1..", kMaxJobs));
  }
  if (!(options.train_fraction > 0.0 && options.train_fraction <= 1.0)) {
    return absl::InvalidArgumentError("--split: expected more than 0 and at most 1");
  }
  if (options.modality != "CT" && options.modality != "MR") {
    return absl::InvalidArgumentError(
        absl::StrCat("--modality: ", options.modality, "; expected CT or MR"));
  }
  return absl::OkStatus();
}

Source FromScan(Scan scan, const std::string& modality) {
  const auto shared = std::make_shared<const Scan>(std::move(scan));
  Source source;
  source.name = shared->name;
  source.patient = shared->patient;
  source.digest = [shared] { return ScanDigest(*shared); };
  source.memory = [shared] { return EstimateMemory(*shared); };
  source.read = [shared, modality](std::optional<int64_t>*) -> absl::StatusOr<FloatVolume> {
    if (!shared->modality.empty() && shared->modality != modality) {
      return absl::InvalidArgumentError(absl::StrCat(shared->name, ": modality ", shared->modality,
                                                     "; expected ", modality, " (--modality)"));
    }
    return ReadScan(*shared);
  };
  return source;
}

Source FromPhantom(int64_t size, uint64_t seed) {
  Source source;
  source.name = absl::StrCat("phantom:", seed);
  source.patient = absl::StrCat("phantom-", seed);
  source.digest = [size, seed]() -> absl::StatusOr<std::string> {
    return Sha256Hex(
        absl::StrCat("phantom version ", kPhantomVersion, " size ", size, " seed ", seed));
  };
  source.memory = [size]() -> absl::StatusOr<int64_t> { return size * size * size * 12; };
  source.read = [size, seed](std::optional<int64_t>* label) -> absl::StatusOr<FloatVolume> {
    absl::StatusOr<Phantom> phantom = MakePhantom({size, seed, std::nullopt});
    if (!phantom.ok()) return phantom.status();
    *label = static_cast<int64_t>(phantom->phantom_class);
    const std::vector<int16_t>& voxels = phantom->volume.voxels;
    return FloatVolume{phantom->volume.geometry, {voxels.begin(), voxels.end()}};
  };
  return source;
}

// Runs the jobs of one call of Prepare().
class Preparation {
 public:
  Preparation(const PrepareOptions& options, std::vector<Source> sources, ProgressLog log)
      : options_(options),
        sources_(std::move(sources)),
        log_(std::move(log)),
        gate_(options.memory),
        items_(sources_.size()),
        failures_(sources_.size()) {}

  // Prepares all sources; returns the first error of the output folder.
  absl::Status Run() {
    if (absl::Status status = ChooseFiles(); !status.ok()) return status;
    ProgressBar bar("preparing", "volumes", sources_.size());
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < sources_.size() && !stop_; i = next++) {
        absl::Status status = PrepareOne(i);
        if (!status.ok()) Stop(status);
        bar.Advance();
      }
    };
    std::vector<std::thread> threads;
    for (int job = 1; job < options_.jobs; ++job) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
    return fatal_;
  }

  // Writes the manifest.
  absl::StatusOr<PrepareResult> Finish(std::vector<DatasetFailure> failures) {
    PrepareResult result;
    DatasetManifest& manifest = result.manifest;
    manifest.size = options_.size;
    manifest.modality = options_.modality;
    manifest.window_rule = ToString(options_.window);
    manifest.train_fraction = options_.train_fraction;
    manifest.split_seed = options_.split_seed;
    manifest.failures = std::move(failures);
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (items_[i].has_value()) manifest.items.push_back(*items_[i]);
      if (!failures_[i].empty()) manifest.failures.push_back({sources_[i].name, failures_[i]});
    }
    if (manifest.items.empty()) return NothingPrepared(manifest.failures);
    manifest.window = CommonWindow(manifest.items);
    if (options_.phantom_count > 0) {
      manifest.class_names = {ToString(PhantomClass::kNoNodule), ToString(PhantomClass::kNodule)};
    }
    AssignSplits(options_.train_fraction, options_.split_seed, &manifest.items);
    if (options_.phantom_count > 0) {
      if (absl::Status status = WriteLabels(manifest); !status.ok()) return status;
    }
    if (absl::Status status = log_.Finish(manifest); !status.ok()) return status;
    result.reused = reused_;
    result.changed = changed_;
    return result;
  }

 private:
  // Gives every source its file: the one it had, or the next free number.
  absl::Status ChooseFiles() {
    std::map<std::string, DatasetItem> orphans = log_.done();
    std::vector<bool> used;
    const auto mark = [&](int64_t number) {
      if (number >= static_cast<int64_t>(used.size())) used.resize(static_cast<size_t>(number) + 1);
      used[static_cast<size_t>(number)] = true;
    };
    for (const Source& source : sources_) {
      const auto found = log_.done().find(source.name);
      orphans.erase(source.name);
      files_.push_back(found == log_.done().end() ? "" : found->second.file);
      int64_t number = 0;
      if (std::sscanf(files_.back().c_str(), "volumes/%ld.npy", &number) == 1 && number >= 0 &&
          number < kMaxPhantoms * 10) {
        mark(number);
      }
    }
    if (!orphans.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(options_.output, ": holds ", orphans.size(), " volumes of other inputs (",
                       orphans.begin()->first, "); expected at least the inputs it was made of"));
    }
    int64_t number = 0;
    for (std::string& file : files_) {
      if (!file.empty()) continue;
      while (number < static_cast<int64_t>(used.size()) && used[static_cast<size_t>(number)])
        ++number;
      file = absl::StrFormat("volumes/%05d.npy", number++);
    }
    return absl::OkStatus();
  }

  // Prepares source `i`. A bad scan is noted; only errors of the output folder are returned.
  absl::Status PrepareOne(size_t i) {
    const Source& source = sources_[i];
    absl::StatusOr<std::string> digest = source.digest();
    if (!digest.ok()) return Note(i, digest.status());
    const auto earlier = log_.done().find(source.name);
    if (earlier != log_.done().end()) {
      const std::string path = PathOf(i);
      if (earlier->second.source_digest == *digest &&
          MappedVolume::Open(path, options_.size).ok()) {
        items_[i] = earlier->second;
        ++reused_;
        return absl::OkStatus();
      }
      ++changed_;
    }
    DatasetItem item;
    item.file = files_[i];
    item.source = source.name;
    item.source_digest = *std::move(digest);
    item.patient = source.patient;
    absl::StatusOr<int64_t> bytes = source.memory();
    if (!bytes.ok()) return Note(i, bytes.status());
    absl::StatusOr<PreparedVolume> prepared = absl::UnknownError("");
    {
      const int64_t cube = options_.size * options_.size * options_.size * 6;
      const MemoryGate::Hold hold(gate_, *bytes + cube);
      absl::StatusOr<FloatVolume> scan = source.read(&item.label);
      if (!scan.ok()) return Note(i, scan.status());
      prepared = Preprocess(*scan, {options_.size, options_.window});
    }
    if (!prepared.ok()) return Note(i, prepared.status());
    item.spacing = prepared->spacing;
    item.window = prepared->window;
    if (absl::Status status = WriteVoxels(PathOf(i), prepared->voxels); !status.ok()) return status;
    items_[i] = item;
    return log_.Add(item);
  }

  absl::Status WriteVoxels(const std::string& path, const std::vector<int16_t>& voxels) const {
    const int64_t n = options_.size;
    absl::StatusOr<NpyWriter> writer = NpyWriter::Create(path, VoxelType::kInt16, {n, n, n});
    if (!writer.ok()) return writer.status();
    if (absl::Status status = writer->Append(voxels); !status.ok()) return status;
    return writer->Commit();
  }

  absl::Status Note(size_t i, const absl::Status& status) {
    // Messages lead with the file; the manifest names it already.
    absl::string_view reason = status.message();
    if (absl::ConsumePrefix(&reason, sources_[i].name)) absl::ConsumePrefix(&reason, ": ");
    failures_[i] = std::string(reason);
    return absl::OkStatus();
  }

  void Stop(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (fatal_.ok()) fatal_ = status;
    stop_ = true;
  }

  static Window CommonWindow(const std::vector<DatasetItem>& items) {
    Window mean{0.0, 0.0};
    for (const DatasetItem& item : items) {
      mean.low += item.window.low;
      mean.high += item.window.high;
    }
    mean.low /= static_cast<double>(items.size());
    mean.high /= static_cast<double>(items.size());
    return mean;
  }

  static absl::Status NothingPrepared(const std::vector<DatasetFailure>& failures) {
    if (failures.empty()) return absl::NotFoundError("no scans found in the inputs");
    return absl::FailedPreconditionError(
        absl::StrCat("none of ", failures.size(), " scans could be prepared; the first: ",
                     failures.front().source, ": ", failures.front().reason));
  }

  absl::Status WriteLabels(const DatasetManifest& manifest) const {
    std::string text = "file,class\n";
    for (const DatasetItem& item : manifest.items) {
      absl::StrAppend(&text, item.file, ",", item.label.value_or(0), "\n");
    }
    return WriteFileAtomically(options_.output + "/labels.csv", text);
  }

  std::string PathOf(size_t i) const { return absl::StrCat(options_.output, "/", files_[i]); }

  const PrepareOptions& options_;
  const std::vector<Source> sources_;
  ProgressLog log_;
  MemoryGate gate_;
  std::vector<std::string> files_;

  // Each job writes its own elements.
  std::vector<std::optional<DatasetItem>> items_;
  std::vector<std::string> failures_;
  std::atomic<int64_t> reused_{0};
  std::atomic<int64_t> changed_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  absl::Status fatal_;  // guarded by mutex_ while jobs run
};

}  // namespace

absl::StatusOr<PrepareResult> Prepare(const PrepareOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  SilenceLibraries();
  std::vector<Source> sources;
  ScanSearch search = FindScans(options.inputs);
  for (Scan& scan : search.scans) sources.push_back(FromScan(std::move(scan), options.modality));
  for (int64_t i = 0; i < options.phantom_count; ++i) {
    sources.push_back(FromPhantom(options.size, options.phantom_seed + static_cast<uint64_t>(i)));
  }
  if (sources.empty()) {
    if (search.failures.empty()) return absl::NotFoundError("no scans found in the inputs");
    const DatasetFailure& first = search.failures.front();
    return absl::NotFoundError(absl::StrCat(first.source, ": ", first.reason));
  }
  absl::StatusOr<ProgressLog> log =
      ProgressLog::Open(options.output, {options.size, options.modality, ToString(options.window),
                                         options.train_fraction, options.split_seed});
  if (!log.ok()) return log.status();
  Preparation preparation(options, std::move(sources), *std::move(log));
  if (absl::Status status = preparation.Run(); !status.ok()) return status;
  return preparation.Finish(std::move(search.failures));
}

}  // namespace synthvol::imaging
