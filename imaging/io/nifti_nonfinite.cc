#include "imaging/io/nifti_nonfinite.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"

namespace synthvol::imaging {
namespace {

// Places in nifti_1_header.
constexpr size_t kHeaderBytes = 348;
constexpr size_t kDatatypeAt = 70;
constexpr size_t kBitpixAt = 72;
constexpr size_t kVoxOffsetAt = 108;
constexpr int16_t kFloat32 = 16;  // NIFTI_TYPE_FLOAT32
constexpr int16_t kFloat64 = 64;  // NIFTI_TYPE_FLOAT64

struct CloseGz {
  void operator()(gzFile file) const { gzclose(file); }
};
using GzFile = std::unique_ptr<gzFile_s, CloseGz>;

template <typename T>
T Load(const unsigned char* from, bool swapped) {
  std::array<unsigned char, sizeof(T)> bytes;
  std::memcpy(bytes.data(), from, sizeof(T));
  if (swapped) std::reverse(bytes.begin(), bytes.end());
  return std::bit_cast<T>(bytes);
}

absl::Status Truncated(const std::string& path) {
  return absl::DataLossError(absl::StrCat(path, ": truncated: fewer voxels than announced"));
}

template <typename T>
absl::Status Restore(gzFile file, bool swapped, const std::string& path, absl::Span<float> voxels) {
  constexpr size_t kPiece = 1 << 16;
  std::vector<unsigned char> buffer(kPiece * sizeof(T));
  for (size_t done = 0; done < voxels.size();) {
    const size_t count = std::min(kPiece, voxels.size() - done);
    const auto bytes = static_cast<unsigned>(count * sizeof(T));
    if (gzread(file, buffer.data(), bytes) != static_cast<int>(bytes)) {
      return Truncated(path);
    }
    for (size_t i = 0; i < count; ++i) {
      if (std::isfinite(Load<T>(buffer.data() + i * sizeof(T), swapped))) continue;
      voxels[done + i] = std::numeric_limits<float>::quiet_NaN();
    }
    done += count;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RestoreNonFinite(const std::string& path, absl::Span<float> voxels) {
  // Reads plain files as well.
  const GzFile file(gzopen(path.c_str(), "rb"));
  std::array<unsigned char, kHeaderBytes> header;
  if (file == nullptr || gzread(file.get(), header.data(), header.size()) != kHeaderBytes) {
    return absl::DataLossError(absl::StrCat(path, ": truncated: no NIfTI header"));
  }
  const bool swapped = Load<int32_t>(header.data(), false) != static_cast<int32_t>(kHeaderBytes);
  const auto datatype = Load<int16_t>(header.data() + kDatatypeAt, swapped);
  const auto offset = Load<float>(header.data() + kVoxOffsetAt, swapped);
  if (!(offset >= static_cast<float>(kHeaderBytes) && offset < 1e9F) ||
      gzseek(file.get(), static_cast<z_off_t>(offset), SEEK_SET) < 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": vox_offset is not in the file"));
  }
  if (datatype == kFloat32) return Restore<float>(file.get(), swapped, path, voxels);
  if (datatype == kFloat64) return Restore<double>(file.get(), swapped, path, voxels);
  // Integers: only the end has to be there.
  const auto bits = Load<int16_t>(header.data() + kBitpixAt, swapped);
  const auto bytes = static_cast<z_off_t>(voxels.size()) * bits / 8;
  unsigned char last = 0;
  if (bytes < 1 || gzseek(file.get(), bytes - 1, SEEK_CUR) < 0 ||
      gzread(file.get(), &last, 1) != 1) {
    return Truncated(path);
  }
  return absl::OkStatus();
}

}  // namespace synthvol::imaging
