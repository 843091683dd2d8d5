#include "imaging/io/scan.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/checksum.h"
#include "imaging/io/dicom_series.h"
#include "imaging/io/image_file.h"
#include "imaging/io/orientation.h"

namespace synthvol::imaging {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPseudonymDigits = 12;

std::string Absolute(const std::string& path) {
  std::error_code error;
  fs::path canonical = fs::weakly_canonical(path, error);
  std::string text = error ? path : canonical.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string PatientOfFile(const std::string& path) {
  std::string stem = fs::path(path).filename().string();
  if (absl::StartsWith(stem, "sub-")) return stem.substr(0, stem.find_first_of("_."));
  for (const absl::string_view extension : {".gz", ".nii", ".mhd", ".mha", ".nrrd", ".nhdr"}) {
    if (absl::EndsWithIgnoreCase(stem, extension)) stem.resize(stem.size() - extension.size());
  }
  return stem;
}

std::string PatientOfDicom(const DicomHeader& header) {
  // A data set's manifest travels with models; the hospital's own number stays out of it.
  const std::string& id = header.patient_id.empty() ? header.series_uid : header.patient_id;
  return "patient-" + Sha256Hex(id).substr(0, kPseudonymDigits);
}

// Collects what the inputs name: image files, and DICOM files for grouping.
class Collector {
 public:
  explicit Collector(ScanSearch* search) : search_(search) {}

  void AddInput(const std::string& input) {
    const std::string path = Absolute(input);
    std::error_code error;
    if (fs::is_directory(path, error)) {
      AddFolder(path);
    } else if (!fs::exists(path, error)) {
      Fail(path, "no such file or folder");
    } else if (!AddFile(path)) {
      Fail(path, "unknown format; expected .mhd, .mha, .nii, .nii.gz, .nrrd, .nhdr or DICOM");
    }
  }

  // Turns the DICOM files into series.
  void Finish() {
    std::map<std::string, std::map<std::string, std::vector<DicomHeader>>> folders;
    for (const std::string& path : dicom_files_) {
      absl::StatusOr<DicomHeader> header = ReadDicomHeader(path);
      if (!header.ok()) {
        Fail(path, std::string(header.status().message()));
      } else if (header->rows > 0) {
        folders[fs::path(path).parent_path().string()][header->series_uid].push_back(*header);
      }
    }
    for (auto& [folder, series] : folders) AddSeries(folder, series);
    const auto by_name = [](const Scan& a, const Scan& b) { return a.name < b.name; };
    std::sort(search_->scans.begin(), search_->scans.end(), by_name);
  }

 private:
  void AddFolder(const std::string& folder) {
    std::error_code error;
    const auto options = fs::directory_options::skip_permission_denied;
    fs::recursive_directory_iterator entries(folder, options, error);
    for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
      std::error_code ignored;
      if (entries->is_regular_file(ignored)) AddFile(entries->path().string());
    }
    if (error) Fail(folder, absl::StrCat("cannot list: ", error.message()));
  }

  // Takes the file if it is of a known kind.
  bool AddFile(const std::string& path) {
    if (IsVolumeFile(path)) {
      if (files_.insert(path).second) search_->scans.push_back({path, PatientOfFile(path), "", {}});
      return true;
    }
    if (!LooksLikeDicom(path)) return false;
    dicom_files_.insert(path);
    return true;
  }

  void AddSeries(const std::string& folder,
                 std::map<std::string, std::vector<DicomHeader>>& series) {
    // Scout images beside a scan are no scan of their own.
    if (series.size() > 1) {
      std::erase_if(series, [](const auto& entry) {
        return std::all_of(entry.second.begin(), entry.second.end(),
                           [](const DicomHeader& h) { return h.IsLocalizer(); });
      });
    }
    for (auto& [uid, headers] : series) {
      Scan scan;
      scan.name = series.size() == 1 ? folder : absl::StrCat(folder, "#series=", uid);
      scan.patient = PatientOfDicom(headers.front());
      scan.modality = headers.front().modality;
      scan.slices = std::move(headers);
      search_->scans.push_back(std::move(scan));
    }
  }

  void Fail(const std::string& path, const std::string& reason) {
    search_->failures.push_back({path, reason});
  }

  ScanSearch* search_;
  std::set<std::string> files_;
  std::set<std::string> dicom_files_;
};

}  // namespace

ScanSearch FindScans(absl::Span<const std::string> inputs) {
  ScanSearch search;
  Collector collector(&search);
  for (const std::string& input : inputs) collector.AddInput(input);
  collector.Finish();
  return search;
}

absl::StatusOr<FloatVolume> ReadScan(const Scan& scan) {
  if (!scan.IsDicom()) {
    absl::StatusOr<FloatVolume> volume = ReadVolumeFile(scan.name);
    return volume.ok() ? ToAxial(*std::move(volume), scan.name) : volume;
  }
  absl::StatusOr<DicomStack> stack = StackSlices(scan.slices, scan.name);
  if (!stack.ok()) return stack.status();
  absl::StatusOr<FloatVolume> volume = ReadDicomStack(*stack);
  return volume.ok() ? ToAxial(*std::move(volume), scan.name) : volume;
}

absl::StatusOr<FloatVolume> ReadVolume(const std::string& path) {
  const ScanSearch search = FindScans({&path, 1});
  if (search.scans.size() == 1) return ReadScan(search.scans.front());
  if (search.scans.empty() && !search.failures.empty()) {
    const DatasetFailure& failure = search.failures.front();
    const bool named = absl::StartsWith(failure.reason, failure.source);
    return absl::InvalidArgumentError(named ? failure.reason
                                            : absl::StrCat(failure.source, ": ", failure.reason));
  }
  if (search.scans.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": holds no volume"));
  }
  std::string message =
      absl::StrCat(path, ": holds ", search.scans.size(), " volumes; expected one:");
  constexpr size_t kListed = 5;
  for (size_t i = 0; i < std::min(kListed, search.scans.size()); ++i) {
    absl::StrAppend(&message, " ", search.scans[i].name);
  }
  if (search.scans.size() > kListed) absl::StrAppend(&message, " ...");
  return absl::InvalidArgumentError(message);
}

absl::StatusOr<std::string> ScanDigest(const Scan& scan) {
  std::vector<std::string> files;
  if (scan.IsDicom()) {
    for (const DicomHeader& slice : scan.slices) files.push_back(slice.file);
    std::sort(files.begin(), files.end());
  } else {
    files = FilesOfVolume(scan.name);
  }
  Sha256 sha;
  for (const std::string& file : files) {
    absl::StatusOr<std::string> digest = Sha256HexOfFile(file);
    if (!digest.ok()) return digest;
    if (files.size() == 1) return digest;
    sha.Update(*digest);
  }
  return absl::BytesToHexString(sha.Finish());
}

absl::StatusOr<int64_t> EstimateMemory(const Scan& scan) {
  // The file's own voxels (8 bytes at most), the float volume, a turned copy of it.
  constexpr int64_t kBytesPerVoxel = 8 + 4 + 4;
  if (scan.IsDicom()) {
    const DicomHeader& first = scan.slices.front();
    return first.rows * first.columns * static_cast<int64_t>(scan.slices.size()) * kBytesPerVoxel;
  }
  absl::StatusOr<Geometry> geometry = ReadVolumeHeader(scan.name);
  if (!geometry.ok()) return geometry.status();
  return geometry->VoxelCount() * kBytesPerVoxel;
}

}  // namespace synthvol::imaging
