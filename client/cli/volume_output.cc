#include "client/cli/volume_output.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/gif.h"
#include "imaging/montage.h"
#include "imaging/volume_writer.h"

namespace synthvol::client {
namespace {

namespace fs = std::filesystem;

imaging::Geometry GeometryOf(const v1::VolumeGeometry& geometry) {
  imaging::Geometry result;
  std::copy_n(geometry.size().begin(), 3, result.size.begin());
  std::copy_n(geometry.spacing_mm().begin(), 3, result.spacing.begin());
  std::copy_n(geometry.origin_mm().begin(), 3, result.origin.begin());
  std::copy_n(geometry.direction().begin(), 9, result.direction.begin());
  return result;
}

std::optional<imaging::VolumeFormat> WriterFormat(const OutputOptions& options) {
  if (options.format == "npy") return imaging::VolumeFormat::kNpy;
  if (options.format == "raw") return imaging::VolumeFormat::kRaw;
  if (options.format == "png") return imaging::VolumeFormat::kPng;
  if (options.format == "nifti") {
    return options.compress ? imaging::VolumeFormat::kNiftiGz : imaging::VolumeFormat::kNifti;
  }
  return std::nullopt;
}

// Everything that takes the slices as they are read.
struct Consumers {
  std::vector<std::unique_ptr<imaging::VolumeWriter>> writers;
  std::optional<GifWriter> gif;
};

template <typename T>
absl::Status FeedSlices(const std::string& path, const imaging::Geometry& geometry,
                        const imaging::Window& window, Consumers& consumers) {
  std::ifstream file(path, std::ios::binary);
  std::vector<T> slice(static_cast<size_t>(geometry.size[0] * geometry.size[1]));
  const auto bytes = static_cast<std::streamsize>(slice.size() * sizeof(T));
  std::vector<uint8_t> grey(slice.size());
  for (int64_t z = 0; z < geometry.size[2]; ++z) {
    if (!file.read(reinterpret_cast<char*>(slice.data()), bytes)) {
      return absl::InternalError(absl::StrCat(path, ": cannot read slice ", z));
    }
    for (const auto& writer : consumers.writers) {
      if (absl::Status status = writer->AppendSlices(absl::MakeConstSpan(slice)); !status.ok())
        return status;
    }
    if (!consumers.gif.has_value()) continue;
    std::transform(slice.begin(), slice.end(), grey.begin(), [&](T voxel) {
      return static_cast<uint8_t>(
          std::clamp((voxel - window.low) / (window.high - window.low), 0.0, 1.0) * 255);
    });
    if (absl::Status status = consumers.gif->AddFrame(grey); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> WriteDicom(const OutputOptions& options,
                                                    const std::string& stem, SliceStore& store) {
  if (absl::Status status = store.Sync(); !status.ok()) return status;
  const fs::path final_path = fs::path(options.folder) / stem;
  std::error_code error;
  // Left by a process that died between renaming and recording; the same request gives the same
  // bytes.
  fs::remove_all(final_path, error);
  fs::rename(store.files_path(), final_path, error);
  if (error) {
    return absl::InternalError(
        absl::StrCat(final_path.string(), ": cannot rename into place: ", error.message()));
  }
  return std::vector<std::string>{stem};
}

}  // namespace

std::string OutputStem(const std::string& model_name, uint64_t seed) {
  std::string stem = absl::StrFormat("%s-seed-%06d", model_name, seed);
  for (char& c : stem) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '_' || c == '.';
    if (!plain) c = '_';
  }
  // No hidden file, no "..".
  if (stem.front() == '.') stem.front() = '_';
  return stem;
}

absl::StatusOr<std::vector<std::string>> WriteOutputs(const OutputOptions& options,
                                                      const std::string& stem, SliceStore& store) {
  const auto format = WriterFormat(options);
  if (!format.has_value()) return WriteDicom(options, stem, store);
  const v1::VolumeHeader& header = *store.header();
  const bool is_float = header.format() == v1::VOLUME_FORMAT_FLOAT32;
  const imaging::Geometry geometry = GeometryOf(header.geometry());
  imaging::VolumeWriter::Options writer_options;
  writer_options.window = is_float ? imaging::Window{-1, 1}
                                   : imaging::Window{header.window_low(), header.window_high()};
  std::vector<imaging::VolumeFormat> formats{*format};
  if (options.montage && *format != imaging::VolumeFormat::kPng)
    formats.push_back(imaging::VolumeFormat::kPng);
  Consumers consumers;
  std::vector<std::string> names;
  for (const imaging::VolumeFormat each : formats) {
    const std::string name = stem + imaging::Extension(each);
    auto writer = imaging::VolumeWriter::Create(
        absl::StrCat(options.folder, "/", name), each, geometry,
        is_float ? imaging::VoxelType::kFloat32 : imaging::VoxelType::kInt16, writer_options);
    if (!writer.ok()) return writer.status();
    for (const std::string& path : (*writer)->paths())
      names.push_back(fs::path(path).filename().string());
    consumers.writers.push_back(*std::move(writer));
  }
  if (options.gif) {
    names.push_back(stem + ".gif");
    auto gif =
        GifWriter::Create(absl::StrCat(options.folder, "/", names.back()),
                          static_cast<int>(geometry.size[0]), static_cast<int>(geometry.size[1]));
    if (!gif.ok()) return gif.status();
    consumers.gif = *std::move(gif);
  }
  absl::Status status =
      is_float ? FeedSlices<float>(store.data_path(), geometry, writer_options.window, consumers)
               : FeedSlices<int16_t>(store.data_path(), geometry, writer_options.window, consumers);
  if (!status.ok()) return status;
  for (const auto& writer : consumers.writers) {
    if (status = writer->Commit(); !status.ok()) return status;
  }
  if (consumers.gif.has_value()) {
    if (status = consumers.gif->Commit(); !status.ok()) return status;
  }
  return names;
}

}  // namespace synthvol::client
