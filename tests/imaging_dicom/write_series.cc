// Test tool: writes the fixed volume of synthetic_volume.h as a DICOM series, and as .npy and NIfTI
// beside it, for the judges in Python to compare.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>

#include "base/atomic_file.h"
#include "base/command_line.h"
#include "imaging/dicom/series_encoder.h"
#include "imaging/volume_writer.h"
#include "tests/imaging_dicom/synthetic_volume.h"

namespace synthvol::imaging::dicom {
namespace {

const std::map<std::string, TransferSyntax> kSyntaxes = {
    {"explicit", TransferSyntax::kExplicitLittleEndian},
    {"implicit", TransferSyntax::kImplicitLittleEndian},
    {"deflated", TransferSyntax::kDeflated},
    {"rle", TransferSyntax::kRleLossless},
    {"jpegls", TransferSyntax::kJpegLsLossless}};

// Writes DIR/IM*.dcm.
absl::Status WriteSeries(const SeriesDescription& description, const Volume& volume,
                         const std::string& folder) {
  absl::StatusOr<std::unique_ptr<SeriesEncoder>> encoder = SeriesEncoder::Create(description);
  if (!encoder.ok()) return encoder.status();
  const size_t slice_voxels =
      static_cast<size_t>(volume.geometry.size[0] * volume.geometry.size[1]);
  EncodedSlice slice;
  std::string file;
  for (int64_t z = 0; z < (*encoder)->slice_count(); ++z) {
    const absl::Span<const int16_t> stored(volume.voxels.data() + z * slice_voxels, slice_voxels);
    if (absl::Status status = (*encoder)->EncodeSlice(z, stored, &slice); !status.ok()) {
      return status;
    }
    file.append(slice.bytes);
    if (!slice.last_of_instance) continue;
    const std::string path = folder + "/" + (*encoder)->FileName(slice.instance);
    if (absl::Status status = WriteFileAtomically(path, file); !status.ok()) return status;
    file.clear();
  }
  return absl::OkStatus();
}

int Run(int argc, char** argv) {
  CLI::App app("Writes the tests' volume as DICOM, .npy and NIfTI");
  std::string output;
  std::string storage = "ct";
  std::string syntax = "explicit";
  SeriesDescription description = SyntheticDescription();
  bool oblique = false;
  bool study_per_volume = false;
  bool only_dicom = false;
  app.add_option("--output", output, "Folder, made when absent")->required();
  app.add_option("--storage", storage)->check(CLI::IsMember({"ct", "mr", "enhanced"}));
  app.add_option("--syntax", syntax)->check(CLI::IsMember(kSyntaxes));
  app.add_option("--patient-name", description.attributes.patient_name);
  app.add_option("--patient-id", description.attributes.patient_id);
  app.add_option("--study-date", description.attributes.study_date);
  app.add_option("--series-description", description.attributes.series_description);
  app.add_option("--volume-index", description.volume_index);
  app.add_option("--seed", description.seed_text);
  app.add_option("--size", description.geometry.size, "Other size: noise instead of the volume");
  app.add_flag("--oblique", oblique,
               "Turns the volume about the patient's z axis by 36.87 degrees");
  app.add_flag("--study-per-volume", study_per_volume);
  app.add_flag("--only-dicom", only_dicom);
  if (const std::optional<int> status = ParseCommandLine(app, argc, argv)) return *status;

  if (storage == "mr") description.modality = Modality::kMr;
  if (storage == "enhanced") description.storage = Storage::kEnhanced;
  if (study_per_volume) description.grouping = Grouping::kStudyPerVolume;
  description.transfer_syntax = kSyntaxes.at(syntax);
  if (oblique) description.geometry.direction = {0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1};
  Volume volume = SyntheticVolume();
  if (description.geometry.size != volume.geometry.size) {
    volume.voxels.resize(static_cast<size_t>(description.geometry.VoxelCount()));
    uint32_t state = 1;
    for (int16_t& voxel : volume.voxels) {
      state = state * 1664525 + 1013904223;
      voxel = static_cast<int16_t>(static_cast<int>(state >> 22) - 512);
    }
  }
  volume.geometry = description.geometry;

  std::error_code error;
  std::filesystem::create_directories(output, error);
  absl::Status status = WriteSeries(description, volume, output);
  if (status.ok() && !only_dicom) {
    status = WriteVolume(output + "/volume.npy", VolumeFormat::kNpy, volume);
  }
  if (status.ok() && !only_dicom) {
    status = WriteVolume(output + "/volume.nii", VolumeFormat::kNifti, volume);
  }
  return status.ok() ? kExitFine : ReportError("write_series", status);
}

}  // namespace
}  // namespace synthvol::imaging::dicom

int main(int argc, char** argv) { return synthvol::imaging::dicom::Run(argc, argv); }
