// imaging_convert IN OUT [int16]: reads one scan, writes it as float (or int16) by OUT's extension.
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

#include "imaging/io/image_file.h"
#include "imaging/io/scan.h"
#include "imaging/volume_writer.h"

namespace synthvol::imaging {
namespace {

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

int Convert(const std::string& in, const std::string& out, bool as_int16) {
  SilenceLibraries();
  absl::StatusOr<FloatVolume> scan = ReadVolume(in);
  if (!scan.ok()) return Fail(scan.status());
  const auto format = FormatFromPath(out);
  if (!format.has_value()) return Fail(absl::InvalidArgumentError(out + ": unknown extension"));
  absl::Status status;
  if (as_int16) {
    Volume volume{scan->geometry, {}};
    for (const float voxel : scan->voxels) {
      volume.voxels.push_back(static_cast<int16_t>(std::lround(voxel)));
    }
    status = WriteVolume(out, *format, volume);
  } else {
    status = WriteVolume(out, *format, *scan);
  }
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace synthvol::imaging

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const bool as_int16 = argc > 3 && std::string_view(argv[3]) == "int16";
  return synthvol::imaging::Convert(argv[1], argv[2], as_int16);
}
