#include "imaging/io/image_file.h"

#include <gdcmReader.h>
#include <gdcmTrace.h>
#include <itkGDCMImageIO.h>
#include <itkMetaImageIO.h>
#include <itkNiftiImageIO.h>
#include <itkNrrdImageIO.h>
#include <nifti1_io.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/command_line.h"
#include "imaging/io/meta_image.h"
#include "imaging/io/nifti_nonfinite.h"

namespace synthvol::imaging {
namespace {

namespace fs = std::filesystem;

using Component = itk::ImageIOBase::IOComponentEnum;

// No lossless compression of these formats shrinks further (deflate's limit is 1032:1).
constexpr uint64_t kMaxCompression = 1100;
constexpr const char* kMetaExtensions[] = {".mhd", ".mha"};
constexpr const char* kNiftiExtensions[] = {".nii", ".nii.gz"};
constexpr const char* kNrrdExtensions[] = {".nrrd", ".nhdr"};

template <size_t N>
bool EndsWithAny(std::string_view path, const char* const (&extensions)[N]) {
  const absl::string_view text(path.data(), path.size());
  for (const char* extension : extensions) {
    if (absl::EndsWithIgnoreCase(text, extension)) return true;
  }
  return false;
}

itk::ImageIOBase::Pointer MakeImageIo(const std::string& path) {
  if (EndsWithAny(path, kMetaExtensions)) return itk::MetaImageIO::New().GetPointer();
  if (EndsWithAny(path, kNiftiExtensions)) return itk::NiftiImageIO::New().GetPointer();
  if (EndsWithAny(path, kNrrdExtensions)) return itk::NrrdImageIO::New().GetPointer();
  return nullptr;
}

// NRRD's error stack is global.
std::unique_lock<std::mutex> LockFor(const std::string& path) {
  static std::mutex& mutex = *new std::mutex;
  return EndsWithAny(path, kNrrdExtensions) ? std::unique_lock(mutex)
                                            : std::unique_lock<std::mutex>();
}

absl::Status Bad(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// Runs `action`, turning exceptions into a status that names the file.
template <typename Action>
absl::Status Guard(const std::string& path, const char* doing, const Action& action) {
  try {
    action();
    return absl::OkStatus();
  } catch (const itk::ExceptionObject& error) {
    return absl::DataLossError(
        absl::StrCat(path, ": cannot ", doing, ": ", OneLine(error.GetDescription())));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(path, ": not enough memory to ", doing));
  } catch (const std::exception& error) {
    return absl::DataLossError(absl::StrCat(path, ": cannot ", doing, ": ", OneLine(error.what())));
  }
}

uint64_t BytesOnDisk(const std::string& path) {
  uint64_t total = 0;
  for (const std::string& file : FilesOfVolume(path)) {
    std::error_code error;
    const uint64_t bytes = fs::file_size(file, error);
    if (!error) total += bytes;
  }
  return total;
}

absl::Status CheckExtents(const itk::ImageIOBase& io, const std::string& path) {
  const unsigned dimensions = io.GetNumberOfDimensions();
  for (unsigned axis = 3; axis < dimensions; ++axis) {
    if (io.GetDimensions(axis) > 1) {
      return Bad(path, absl::StrCat(dimensions, " dimensions; expected a 3D volume"));
    }
  }
  if (dimensions < 3) return Bad(path, absl::StrCat(dimensions, "D; expected a 3D volume"));
  int64_t voxels = 1;
  for (unsigned axis = 0; axis < 3; ++axis) {
    const auto extent = static_cast<int64_t>(io.GetDimensions(axis));
    if (extent <= 0) return Bad(path, "empty: no voxels along an axis");
    if (extent > kMaxVoxels / voxels) {
      return Bad(path, absl::StrCat("too large; expected at most ", kMaxVoxels, " voxels"));
    }
    voxels *= extent;
    if (!std::isfinite(io.GetSpacing(axis)) || io.GetSpacing(axis) <= 0.0) {
      return Bad(path, "voxel spacing must be positive");
    }
  }
  if (io.GetDimensions(0) == 1 || io.GetDimensions(1) == 1 || io.GetDimensions(2) == 1) {
    return Bad(path, "a single slice; expected a 3D volume");
  }
  if (io.GetNumberOfComponents() != 1) {
    return Bad(path, absl::StrCat(io.GetNumberOfComponents(),
                                  " components a voxel; expected one (no colour, no vectors)"));
  }
  const auto bytes = static_cast<uint64_t>(voxels) * io.GetComponentSize();
  if (bytes / kMaxCompression > BytesOnDisk(path)) {
    return Bad(path, absl::StrCat("truncated: its header announces ", bytes,
                                  " bytes of voxels, more than the file can hold"));
  }
  return absl::OkStatus();
}

Geometry GeometryOf(const itk::ImageIOBase& io) {
  Geometry geometry;
  for (unsigned axis = 0; axis < 3; ++axis) {
    geometry.size[axis] = static_cast<int64_t>(io.GetDimensions(axis));
    geometry.spacing[axis] = io.GetSpacing(axis);
    geometry.origin[axis] = io.GetOrigin(axis);
    const std::vector<double> column = io.GetDirection(axis);
    for (unsigned row = 0; row < 3; ++row) geometry.direction[row * 3 + axis] = column[row];
  }
  return geometry;
}

template <typename T>
std::vector<float> ToFloat(const std::vector<char>& bytes) {
  std::vector<float> voxels(bytes.size() / sizeof(T));
  const T* values = reinterpret_cast<const T*>(bytes.data());
  for (size_t i = 0; i < voxels.size(); ++i) voxels[i] = static_cast<float>(values[i]);
  return voxels;
}

absl::StatusOr<std::vector<float>> Convert(const std::vector<char>& bytes, Component type,
                                           const std::string& path) {
  switch (type) {
    case Component::UCHAR:
      return ToFloat<unsigned char>(bytes);
    case Component::CHAR:
      return ToFloat<signed char>(bytes);
    case Component::USHORT:
      return ToFloat<uint16_t>(bytes);
    case Component::SHORT:
      return ToFloat<int16_t>(bytes);
    case Component::UINT:
      return ToFloat<uint32_t>(bytes);
    case Component::INT:
      return ToFloat<int32_t>(bytes);
    case Component::ULONG:
    case Component::ULONGLONG:
      return ToFloat<uint64_t>(bytes);
    case Component::LONG:
    case Component::LONGLONG:
      return ToFloat<int64_t>(bytes);
    case Component::FLOAT:
      return ToFloat<float>(bytes);
    case Component::DOUBLE:
      return ToFloat<double>(bytes);
    default:
      return Bad(path,
                 absl::StrCat("voxels of type ", itk::ImageIOBase::GetComponentTypeAsString(type),
                              "; expected integers or floats"));
  }
}

// Reads everything that the header announces.
absl::StatusOr<std::vector<float>> ReadVoxels(itk::ImageIOBase& io, const std::string& path) {
  std::vector<char> bytes;
  absl::Status status = Guard(path, "read its voxels", [&] {
    itk::ImageIORegion region(io.GetNumberOfDimensions());
    for (unsigned axis = 0; axis < io.GetNumberOfDimensions(); ++axis) {
      region.SetIndex(axis, 0);
      region.SetSize(axis, io.GetDimensions(axis));
    }
    io.SetIORegion(region);
    bytes.resize(static_cast<size_t>(io.GetImageSizeInBytes()));
    io.Read(bytes.data());
  });
  if (!status.ok()) return status;
  return Convert(bytes, io.GetComponentType(), path);
}

absl::StatusOr<itk::ImageIOBase::Pointer> OpenVolume(const std::string& path) {
  if (std::error_code error; !fs::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }
  if (BytesOnDisk(path) == 0) return Bad(path, "empty file");
  itk::ImageIOBase::Pointer io = MakeImageIo(path);
  if (io == nullptr) {
    return Bad(path, "unknown format; expected .mhd, .mha, .nii, .nii.gz, .nrrd, .nhdr or DICOM");
  }
  absl::Status status = Guard(path, "read its header", [&] {
    io->SetFileName(path);
    io->ReadImageInformation();
  });
  if (!status.ok()) return status;
  if (status = CheckExtents(*io, path); !status.ok()) return status;
  return io;
}

// GDCM pads pixels that end early with zeros; finds them before that.
absl::Status CheckPixelLength(const std::string& path, int64_t columns, int64_t rows) {
  gdcm::Reader reader;
  reader.SetFileName(path.c_str());
  if (!reader.Read()) return absl::DataLossError(path + ": cannot read its pixels: truncated");
  const gdcm::DataSet& data = reader.GetFile().GetDataSet();
  const gdcm::Tag pixels(0x7fe0, 0x0010);
  const gdcm::Tag bits_allocated(0x0028, 0x0100);
  if (!data.FindDataElement(pixels)) return absl::DataLossError(path + ": cannot find its pixels");
  // Compressed pixels come in fragments, which the decoder checks.
  const gdcm::ByteValue* value = data.GetDataElement(pixels).GetByteValue();
  const gdcm::ByteValue* bits = data.FindDataElement(bits_allocated)
                                    ? data.GetDataElement(bits_allocated).GetByteValue()
                                    : nullptr;
  if (value == nullptr || bits == nullptr || bits->GetLength() < 2) return absl::OkStatus();
  uint16_t depth = 0;
  std::memcpy(&depth, bits->GetPointer(), sizeof(depth));
  const int64_t expected = columns * rows * depth / 8;
  if (static_cast<int64_t>(value->GetLength()) >= expected) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": cannot read its pixels: ", static_cast<int64_t>(value->GetLength()),
                   " bytes where ", expected, " are announced"));
}

}  // namespace

bool IsVolumeFile(std::string_view path) {
  return EndsWithAny(path, kMetaExtensions) || EndsWithAny(path, kNiftiExtensions) ||
         EndsWithAny(path, kNrrdExtensions);
}

std::vector<std::string> FilesOfVolume(const std::string& path) {
  std::vector<std::string> files{path};
  const bool detached =
      absl::EndsWithIgnoreCase(path, ".mhd") || absl::EndsWithIgnoreCase(path, ".nhdr");
  if (!detached) return files;
  std::ifstream header(path);
  std::string line;
  // Headers are short; a binary file under this name ends the search soon.
  for (int count = 0; count < 1000 && std::getline(header, line); ++count) {
    absl::string_view rest = line;
    const bool names_data = absl::ConsumePrefix(&rest, "ElementDataFile") ||
                            absl::ConsumePrefix(&rest, "data file") ||
                            absl::ConsumePrefix(&rest, "datafile");
    if (!names_data) continue;
    rest = absl::StripAsciiWhitespace(rest);
    if (!absl::ConsumePrefix(&rest, "=") && !absl::ConsumePrefix(&rest, ":")) continue;
    const std::string name(absl::StripAsciiWhitespace(rest));
    const fs::path data = fs::path(path).parent_path() / name;
    if (std::error_code error; fs::is_regular_file(data, error)) files.push_back(data.string());
  }
  return files;
}

absl::StatusOr<Geometry> ReadVolumeHeader(const std::string& path) {
  const auto lock = LockFor(path);
  absl::StatusOr<itk::ImageIOBase::Pointer> io = OpenVolume(path);
  if (!io.ok()) return io.status();
  return GeometryOf(**io);
}

absl::StatusOr<FloatVolume> ReadVolumeFile(const std::string& path) {
  const auto lock = LockFor(path);
  absl::StatusOr<itk::ImageIOBase::Pointer> io = OpenVolume(path);
  if (!io.ok()) return io.status();
  if (EndsWithAny(path, kMetaExtensions)) {
    const auto bytes = static_cast<uint64_t>((*io)->GetImageSizeInBytes());
    absl::Status status = CheckMetaImageIsComplete(path, bytes);
    if (!status.ok()) return status;
  }
  absl::StatusOr<std::vector<float>> voxels = ReadVoxels(**io, path);
  if (!voxels.ok()) return voxels.status();
  if (EndsWithAny(path, kNiftiExtensions)) {
    absl::Status status = RestoreNonFinite(path, absl::MakeSpan(*voxels));
    if (!status.ok()) return status;
  }
  return FloatVolume{GeometryOf(**io), *std::move(voxels)};
}

absl::StatusOr<std::vector<float>> ReadDicomSlice(const std::string& path, int64_t columns,
                                                  int64_t rows) {
  const itk::GDCMImageIO::Pointer io = itk::GDCMImageIO::New();
  absl::Status complete;
  absl::Status status = Guard(path, "decode its pixels", [&] {
    complete = CheckPixelLength(path, columns, rows);
    io->SetFileName(path);
    if (complete.ok()) io->ReadImageInformation();
  });
  if (!complete.ok()) return complete;
  if (!status.ok()) return status;
  if (io->GetNumberOfComponents() != 1) return Bad(path, "a colour image; expected greyscale");
  absl::StatusOr<std::vector<float>> pixels = ReadVoxels(*io, path);
  if (!pixels.ok()) return pixels;
  if (static_cast<int64_t>(pixels->size()) != columns * rows) {
    return Bad(path, absl::StrCat(pixels->size(), " pixels; expected ", columns, "x", rows));
  }
  return pixels;
}

void SilenceLibraries() {
  itk::Object::SetGlobalWarningDisplay(false);
  gdcm::Trace::WarningOff();
  gdcm::Trace::ErrorOff();
  gdcm::Trace::DebugOff();
  nifti_set_debug_level(0);
}

}  // namespace synthvol::imaging
