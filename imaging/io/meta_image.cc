#include "imaging/io/meta_image.h"

#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace synthvol::imaging {
namespace {

namespace fs = std::filesystem;

struct DataPlace {
  std::string file;
  std::streamoff offset = 0;
  bool compressed = false;
};

// Finds the data that the text header announces; no file when it is a list or cannot be found.
DataPlace FindData(const std::string& path) {
  DataPlace place;
  std::ifstream header(path, std::ios::binary);
  std::string line;
  for (int count = 0; count < 1000 && std::getline(header, line); ++count) {
    const size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const absl::string_view key =
        absl::StripAsciiWhitespace(absl::string_view(line).substr(0, equals));
    const std::string value(absl::StripAsciiWhitespace(absl::string_view(line).substr(equals + 1)));
    if (key == "CompressedData") place.compressed = absl::StartsWithIgnoreCase(value, "t");
    if (key == "HeaderSize") return {};
    if (key != "ElementDataFile") continue;
    if (absl::EqualsIgnoreCase(value, "LOCAL")) {
      place.file = path;
      place.offset = header.tellg();
      return place;
    }
    const fs::path data = fs::path(path).parent_path() / value;
    std::error_code error;
    if (fs::is_regular_file(data, error)) place.file = data.string();
    return place;
  }
  return {};
}

// Counts what a zlib or gzip stream unpacks to, up to `enough`.
uint64_t CountInflated(const DataPlace& place, uint64_t enough) {
  std::ifstream file(place.file, std::ios::binary);
  file.seekg(place.offset);
  z_stream stream{};
  constexpr int kDetectZlibOrGzip = 15 + 32;
  if (inflateInit2(&stream, kDetectZlibOrGzip) != Z_OK) return 0;
  std::vector<char> in(1 << 16);
  std::vector<Bytef> out(1 << 18);
  uint64_t total = 0;
  int result = Z_OK;
  while (result == Z_OK && total < enough && file) {
    file.read(in.data(), static_cast<std::streamsize>(in.size()));
    stream.next_in = reinterpret_cast<Bytef*>(in.data());
    stream.avail_in = static_cast<uInt>(file.gcount());
    if (stream.avail_in == 0) break;
    do {
      stream.next_out = out.data();
      stream.avail_out = static_cast<uInt>(out.size());
      result = inflate(&stream, Z_NO_FLUSH);
      total += out.size() - stream.avail_out;
    } while (result == Z_OK && stream.avail_out == 0);
    // All input was used and more is wanted.
    if (result == Z_BUF_ERROR) result = Z_OK;
  }
  inflateEnd(&stream);
  return total;
}

}  // namespace

absl::Status CheckMetaImageIsComplete(const std::string& path, uint64_t bytes) {
  const DataPlace place = FindData(path);
  if (place.file.empty()) return absl::OkStatus();
  uint64_t found = 0;
  if (place.compressed) {
    found = CountInflated(place, bytes);
  } else {
    std::error_code error;
    found = fs::file_size(place.file, error) - static_cast<uint64_t>(place.offset);
  }
  if (found >= bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": truncated: ", found, " bytes of voxels in ",
                                          fs::path(place.file).filename().string(), " where ",
                                          bytes, " are announced"));
}

}  // namespace synthvol::imaging
