#include "model/eval/volume_set.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "imaging/io/image_file.h"
#include "imaging/npy.h"

namespace synthvol::model {
namespace {

namespace fs = std::filesystem;

int64_t Limited(int64_t available, int64_t count) {
  return count > 0 ? std::min(available, count) : available;
}

class DatasetVolumes : public VolumeSet {
 public:
  static absl::StatusOr<std::unique_ptr<VolumeSet>> Open(const std::string& path,
                                                         const VolumeSetOptions& options) {
    auto manifest = imaging::ReadManifest(path);
    if (!manifest.ok()) return manifest.status();
    const auto digest = imaging::ManifestDigest(path);
    if (!digest.ok()) return digest.status();
    auto set = std::make_unique<DatasetVolumes>();
    set->path_ = path;
    set->manifest_ = *std::move(manifest);
    const auto wrong_side = [&](const imaging::DatasetItem& item) {
      return options.split && item.split != *options.split;
    };
    std::erase_if(set->manifest_.items, wrong_side);
    auto& items = set->manifest_.items;
    items.resize(static_cast<size_t>(Limited(static_cast<int64_t>(items.size()), options.count)));
    set->description_ =
        absl::StrCat("data set ", path, ", ", items.size(),
                     options.split ? absl::StrCat(" ", imaging::ToString(*options.split)) : "",
                     " volumes, manifest sha256 ", *digest);
    return set;
  }

  std::string Describe() const override { return description_; }
  int64_t size() const override { return manifest_.size; }
  int64_t count() const override { return static_cast<int64_t>(manifest_.items.size()); }
  const imaging::Window& window() const override { return manifest_.window; }
  std::string modality() const override { return manifest_.modality; }
  std::array<double, 3> spacing() const override {
    return manifest_.items.empty() ? std::array<double, 3>{1, 1, 1} : manifest_.items[0].spacing;
  }
  std::string NameOf(int64_t index) const override { return manifest_.items[index].file; }

  absl::StatusOr<std::vector<float>> Load(int64_t index) override {
    const auto volume = imaging::MappedVolume::Open(
        absl::StrCat(path_, "/", manifest_.items[index].file), manifest_.size);
    if (!volume.ok()) return volume.status();
    std::vector<float> unit;
    unit.reserve(volume->voxels().size());
    for (const int16_t voxel : volume->voxels()) unit.push_back(voxel / imaging::kUnitScale);
    return unit;
  }

 private:
  std::string path_;
  std::string description_;
  imaging::DatasetManifest manifest_;
};

bool IsCube(const std::vector<int64_t>& shape) {
  return shape.size() == 3 && shape[0] == shape[1] && shape[1] == shape[2];
}

// Reads a float32 .npy, which is on the unit scale, or says that it is not.
absl::StatusOr<std::vector<float>> ReadUnitNpy(const std::string& file) {
  std::vector<int64_t> shape;
  auto unit = imaging::ReadNpyFloat32(file, &shape);
  if (!unit.ok()) return unit;
  for (const float value : *unit) {
    // Rounding may step past 1; Hounsfield units would by far.
    if (!(std::abs(value) <= 1.001F)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": a float32 .npy must be on the unit scale [-1, 1], found ", value));
    }
  }
  return unit;
}

class FolderVolumes : public VolumeSet {
 public:
  static absl::StatusOr<std::unique_ptr<VolumeSet>> Open(const std::string& path,
                                                         const VolumeSetOptions& options) {
    auto set = std::make_unique<FolderVolumes>();
    set->window_ = options.window;
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().string();
      if (absl::EndsWith(name, ".npy") || absl::EndsWith(name, ".nii") ||
          absl::EndsWith(name, ".nii.gz")) {
        set->files_.push_back(name);
      }
    }
    if (set->files_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path,
          ": expected a prepared data set (manifest.json), a checkpoint (config.json), or a "
          "folder of .npy, .nii or .nii.gz volumes"));
    }
    std::sort(set->files_.begin(), set->files_.end());
    set->files_.resize(static_cast<size_t>(Limited(set->count(), options.count)));
    for (const std::string& file : set->files_) {
      if (auto status = set->CheckShape(file); !status.ok()) return status;
    }
    set->description_ = absl::StrCat("folder ", path, ", ", set->count(), " volumes");
    return set;
  }

  std::string Describe() const override { return description_; }
  int64_t size() const override { return size_; }
  int64_t count() const override { return static_cast<int64_t>(files_.size()); }
  const imaging::Window& window() const override { return window_; }
  std::string NameOf(int64_t index) const override {
    return fs::path(files_[index]).filename().string();
  }

  absl::StatusOr<std::vector<float>> Load(int64_t index) override {
    const std::string& file = files_[index];
    std::vector<float> unit;
    if (!absl::EndsWith(file, ".npy")) {
      const auto volume = imaging::ReadVolumeFile(file);
      if (!volume.ok()) return volume.status();
      for (const float voxel : volume->voxels) unit.push_back(window_.ToUnit(voxel));
      return unit;
    }
    const auto header = imaging::ReadNpyHeader(file);
    if (!header.ok()) return header.status();
    if (header->type == imaging::VoxelType::kFloat32) return ReadUnitNpy(file);
    std::vector<int64_t> shape;
    const auto stored = imaging::ReadNpyInt16(file, &shape);
    if (!stored.ok()) return stored.status();
    for (const int16_t voxel : *stored) unit.push_back(window_.ToUnit(voxel));
    return unit;
  }

 private:
  absl::Status CheckShape(const std::string& file) {
    std::vector<int64_t> shape;
    if (absl::EndsWith(file, ".npy")) {
      const auto header = imaging::ReadNpyHeader(file);
      if (!header.ok()) return header.status();
      shape = header->shape;
    } else {
      const auto geometry = imaging::ReadVolumeHeader(file);
      if (!geometry.ok()) return geometry.status();
      shape.assign(geometry->size.begin(), geometry->size.end());
    }
    if (size_ == 0 && IsCube(shape)) size_ = shape[0];
    if (!IsCube(shape) || shape[0] != size_) {
      return absl::InvalidArgumentError(absl::StrCat(
          file, ": expected a cube", size_ > 0 ? " of the first file's size, " : "",
          size_ > 0 ? absl::StrCat(size_) : "", "; prepare scans with synthvol-prepare"));
    }
    return absl::OkStatus();
  }

  imaging::Window window_;
  std::vector<std::string> files_;
  std::string description_;
  int64_t size_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VolumeSet>> VolumeSet::Open(const std::string& path,
                                                           const VolumeSetOptions& options) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no such folder"));
  }
  if (fs::exists(imaging::ManifestPath(path), error)) return DatasetVolumes::Open(path, options);
  if (fs::exists(fs::path(path) / "config.json", error)) return OpenGeneratedVolumes(path, options);
  return FolderVolumes::Open(path, options);
}

absl::Status CheckComparable(const VolumeSet& a, const VolumeSet& b) {
  if (a.size() != b.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("volumes of ", a.size(), " and ", b.size(),
                     " voxels a side cannot be compared: ", a.Describe(), "; ", b.Describe()));
  }
  if (a.window() != b.window()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "windows differ, ", a.window().low, "..", a.window().high, " and ", b.window().low, "..",
        b.window().high, ": ", a.Describe(), "; ", b.Describe()));
  }
  return absl::OkStatus();
}

}  // namespace synthvol::model
