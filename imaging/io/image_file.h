// Single image files through ITK: MetaImage, NIfTI, NRRD, and one DICOM slice at a time.
//
// Free functions, safe from several threads (NRRD's library keeps global state and is locked).
// ITK's exceptions end here.
#ifndef SYNTHVOL_IMAGING_IO_IMAGE_FILE_H_
#define SYNTHVOL_IMAGING_IO_IMAGE_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// The most voxels a volume may have (1024 a side): a limit on what a hostile header can ask for.
inline constexpr int64_t kMaxVoxels = int64_t{1} << 30;

// Tells whether the extension is one of .mhd .mha .nii .nii.gz .nrrd .nhdr (any case).
bool IsVolumeFile(std::string_view path);

// Lists the files that hold a volume: the file itself and the data file that a .mhd or .nhdr
// header names.
std::vector<std::string> FilesOfVolume(const std::string& path);

// Reads the header alone: the geometry as stored. INVALID_ARGUMENT names the file and what was
// expected: not 3D, a single slice, empty, several components, more voxels than the file can hold.
absl::StatusOr<Geometry> ReadVolumeHeader(const std::string& path);

// Reads a volume in stored units, scale factors of the header applied, axes as stored.
// DATA_LOSS for truncated data; otherwise as ReadVolumeHeader.
absl::StatusOr<FloatVolume> ReadVolumeFile(const std::string& path);

// Reads the pixels of one DICOM image of `columns` x `rows`, rescaled to stored units (HU for CT).
// UNIMPLEMENTED when the pixels' compression cannot be decoded.
absl::StatusOr<std::vector<float>> ReadDicomSlice(const std::string& path, int64_t columns,
                                                  int64_t rows);

// Keeps ITK's, GDCM's and nifticlib's own messages off stderr; errors say it in one line.
void SilenceLibraries();

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_IMAGE_FILE_H_
