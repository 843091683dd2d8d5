#include "imaging/volume_writer.h"

#include <zlib.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/atomic_file.h"
#include "imaging/montage.h"
#include "imaging/nifti.h"
#include "imaging/npy.h"

namespace synthvol::imaging {
namespace {

constexpr std::array<VolumeFormat, 5> kFormats{VolumeFormat::kNpy, VolumeFormat::kNifti,
                                               VolumeFormat::kNiftiGz, VolumeFormat::kRaw,
                                               VolumeFormat::kPng};

// A header and the voxels behind it: .npy, .nii, .raw.
class PlainWriter : public VolumeWriter {
 public:
  // `sidecar` is a small text file that appears after the voxels, or empty.
  PlainWriter(AtomicFile file, std::vector<std::string> paths, const Geometry& geometry,
              VoxelType type, std::string sidecar)
      : VolumeWriter(std::move(paths), geometry, type),
        file_(std::move(file)),
        sidecar_(std::move(sidecar)) {}

 private:
  absl::Status Write(std::string_view bytes) override { return file_.Append(bytes); }
  absl::Status Finish() override {
    if (absl::Status status = file_.Commit(); !status.ok() || sidecar_.empty()) return status;
    return WriteFileAtomically(paths().back(), sidecar_);
  }

  AtomicFile file_;
  const std::string sidecar_;
};

// .nii.gz: the same bytes through zlib, without a time stamp, so that equal volumes make equal
// files.
class GzipWriter : public VolumeWriter {
 public:
  GzipWriter(AtomicFile file, const Geometry& geometry, VoxelType type)
      : VolumeWriter({file.path()}, geometry, type), file_(std::move(file)) {
    constexpr int kLevel = 4;
    constexpr int kGzipWindowBits = 15 + 16;
    constexpr int kMemoryLevel = 8;
    ready_ = deflateInit2(&stream_, kLevel, Z_DEFLATED, kGzipWindowBits, kMemoryLevel,
                          Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~GzipWriter() override {
    if (ready_) deflateEnd(&stream_);
  }

  absl::Status Write(std::string_view bytes) override {
    // zlib counts in 32 bits.
    constexpr size_t kPiece = size_t{1} << 30;
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, kPiece);
      if (absl::Status status = Deflate(piece, Z_NO_FLUSH); !status.ok()) return status;
      bytes.remove_prefix(piece.size());
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Finish() override {
    if (absl::Status status = Deflate({}, Z_FINISH); !status.ok()) return status;
    return file_.Commit();
  }

  absl::Status Deflate(std::string_view bytes, int flush) {
    if (!ready_) return absl::ResourceExhaustedError(file_.path() + ": no memory to compress");
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    int result = Z_OK;
    do {
      std::array<char, 1 << 16> buffer;
      stream_.next_out = reinterpret_cast<Bytef*>(buffer.data());
      stream_.avail_out = buffer.size();
      result = deflate(&stream_, flush);
      const std::string_view out(buffer.data(), buffer.size() - stream_.avail_out);
      if (absl::Status status = file_.Append(out); !status.ok()) return status;
    } while (stream_.avail_out == 0 || (flush == Z_FINISH && result == Z_OK));
    return absl::OkStatus();
  }

  AtomicFile file_;
  z_stream stream_{};
  bool ready_ = false;
};

class PngWriter : public VolumeWriter {
 public:
  PngWriter(const std::string& path, const Geometry& geometry, VoxelType type, Options options)
      : VolumeWriter({path}, geometry, type), planes_(geometry), options_(options) {}

 private:
  absl::Status Write(std::string_view bytes) override {
    if (type() == VoxelType::kInt16) {
      planes_.Append(absl::MakeConstSpan(reinterpret_cast<const int16_t*>(bytes.data()),
                                         bytes.size() / sizeof(int16_t)));
    } else {
      planes_.Append(absl::MakeConstSpan(reinterpret_cast<const float*>(bytes.data()),
                                         bytes.size() / sizeof(float)));
    }
    return absl::OkStatus();
  }
  absl::Status Finish() override {
    return WriteMontage(paths().front(), {&planes_, 1}, options_.window, options_.tile);
  }

  MidPlanes planes_;
  const Options options_;
};

// MetaImage's text header for a raw file beside it.
std::string MetaImageHeader(const Geometry& geometry, VoxelType type, const std::string& raw_name) {
  const auto& s = geometry.size;
  const auto& d = geometry.spacing;
  const auto& o = geometry.origin;
  const auto& m = geometry.direction;
  std::string text =
      "ObjectType = Image\nNDims = 3\nBinaryData = True\n"
      "BinaryDataByteOrderMSB = False\nCompressedData = False\n";
  // MetaImage lists the direction of x, then of y, then of z: the columns of the matrix.
  absl::StrAppendFormat(&text,
                        "TransformMatrix = %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g\n",
                        m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]);
  absl::StrAppendFormat(&text, "Offset = %.17g %.17g %.17g\nCenterOfRotation = 0 0 0\n", o[0], o[1],
                        o[2]);
  absl::StrAppendFormat(&text, "ElementSpacing = %.17g %.17g %.17g\n", d[0], d[1], d[2]);
  absl::StrAppend(&text, "DimSize = ", s[0], " ", s[1], " ", s[2], "\n");
  absl::StrAppend(&text, "ElementType = ", type == VoxelType::kInt16 ? "MET_SHORT" : "MET_FLOAT",
                  "\nElementDataFile = ", raw_name, "\n");
  return text;
}

absl::Status CheckGeometry(const std::string& path, const Geometry& geometry) {
  for (size_t axis = 0; axis < 3; ++axis) {
    const double spacing = geometry.spacing[axis];
    if (geometry.size[axis] < 1 || geometry.size[axis] > (int64_t{1} << 20) ||
        !std::isfinite(spacing) || spacing <= 0.0) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": cannot write ", geometry.size[0], "x", geometry.size[1], "x",
                       geometry.size[2], " voxels; expected positive sizes and spacings"));
    }
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status WriteWhole(const std::string& path, VolumeFormat format, VoxelType type,
                        const Image<T>& volume, const VolumeWriter::Options& options) {
  auto writer = VolumeWriter::Create(path, format, volume.geometry, type, options);
  if (!writer.ok()) return writer.status();
  if (absl::Status status = (*writer)->AppendSlices(volume.voxels); !status.ok()) return status;
  return (*writer)->Commit();
}

}  // namespace

const char* Extension(VolumeFormat format) {
  switch (format) {
    case VolumeFormat::kNpy:
      return ".npy";
    case VolumeFormat::kNifti:
      return ".nii";
    case VolumeFormat::kNiftiGz:
      return ".nii.gz";
    case VolumeFormat::kRaw:
      return ".raw";
    case VolumeFormat::kPng:
      return ".png";
  }
  return "";
}

std::optional<VolumeFormat> FormatFromPath(std::string_view path) {
  for (const VolumeFormat format : kFormats) {
    if (path.ends_with(Extension(format))) return format;
  }
  if (path.ends_with(".mhd")) return VolumeFormat::kRaw;
  return std::nullopt;
}

VolumeWriter::VolumeWriter(std::vector<std::string> paths, const Geometry& geometry, VoxelType type)
    : paths_(std::move(paths)), geometry_(geometry), type_(type) {}

VolumeWriter::~VolumeWriter() = default;

absl::StatusOr<std::unique_ptr<VolumeWriter>> VolumeWriter::Create(const std::string& path,
                                                                   VolumeFormat format,
                                                                   const Geometry& geometry,
                                                                   VoxelType type,
                                                                   const Options& options) {
  if (absl::Status status = CheckGeometry(path, geometry); !status.ok()) return status;
  if (format == VolumeFormat::kPng) {
    return std::make_unique<PngWriter>(path, geometry, type, options);
  }
  std::string header;
  std::string sidecar;
  std::string voxels_path = path;
  std::vector<std::string> paths{path};
  if (format == VolumeFormat::kNpy) {
    header = FormatNpyHeader(type, {geometry.size[2], geometry.size[1], geometry.size[0]});
  } else if (format == VolumeFormat::kRaw) {
    std::filesystem::path raw(path);
    raw.replace_extension(".raw");
    voxels_path = raw.string();
    sidecar = MetaImageHeader(geometry, type, raw.filename().string());
    paths = {voxels_path, std::filesystem::path(path).replace_extension(".mhd").string()};
  } else {
    absl::StatusOr<std::string> nifti = FormatNiftiHeader(geometry, type);
    if (!nifti.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", nifti.status().message()));
    }
    header = *std::move(nifti);
  }
  absl::StatusOr<AtomicFile> file = AtomicFile::Create(voxels_path);
  if (!file.ok()) return file.status();
  if (format == VolumeFormat::kNiftiGz) {
    auto writer = std::make_unique<GzipWriter>(*std::move(file), geometry, type);
    if (absl::Status status = writer->Write(header); !status.ok()) return status;
    return writer;
  }
  if (absl::Status status = file->Append(header); !status.ok()) return status;
  return std::make_unique<PlainWriter>(*std::move(file), std::move(paths), geometry, type,
                                       std::move(sidecar));
}

absl::Status VolumeWriter::Check(VoxelType type, int64_t count) {
  if (type != type_) {
    return absl::InvalidArgumentError(
        absl::StrCat(paths_.front(), ": voxels of another type than the file was opened for"));
  }
  const int64_t missing = geometry_.VoxelCount() - written_;
  if (count > missing) {
    return absl::InvalidArgumentError(
        absl::StrCat(paths_.front(), ": ", count, " more voxels; expected at most ", missing));
  }
  return absl::OkStatus();
}

absl::Status VolumeWriter::AppendSlices(absl::Span<const int16_t> voxels) {
  const auto count = static_cast<int64_t>(voxels.size());
  if (absl::Status status = Check(VoxelType::kInt16, count); !status.ok()) return status;
  written_ += count;
  return Write({reinterpret_cast<const char*>(voxels.data()), voxels.size() * sizeof(int16_t)});
}

absl::Status VolumeWriter::AppendSlices(absl::Span<const float> voxels) {
  const auto count = static_cast<int64_t>(voxels.size());
  if (absl::Status status = Check(VoxelType::kFloat32, count); !status.ok()) return status;
  written_ += count;
  return Write({reinterpret_cast<const char*>(voxels.data()), voxels.size() * sizeof(float)});
}

absl::Status VolumeWriter::Commit() {
  if (const int64_t missing = geometry_.VoxelCount() - written_; missing != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(paths_.front(), ": ", missing, " voxels are missing"));
  }
  return Finish();
}

absl::Status WriteVolume(const std::string& path, VolumeFormat format, const Volume& volume,
                         const VolumeWriter::Options& options) {
  return WriteWhole(path, format, VoxelType::kInt16, volume, options);
}

absl::Status WriteVolume(const std::string& path, VolumeFormat format, const FloatVolume& volume,
                         const VolumeWriter::Options& options) {
  return WriteWhole(path, format, VoxelType::kFloat32, volume, options);
}

}  // namespace synthvol::imaging
