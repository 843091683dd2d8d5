// numpy's .npy format, version 1.0: a header padded to 64 bytes, then the array in C order,
// little-endian ('<i2' or '<f4'). Written piece by piece, so that a volume never has to be whole
// in memory.
//
// Free functions are pure or touch only the file they name. An NpyWriter is not thread-safe; it
// owns its file and removes it unless Commit() succeeds.
#ifndef SYNTHVOL_IMAGING_NPY_H_
#define SYNTHVOL_IMAGING_NPY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/atomic_file.h"
#include "imaging/volume.h"

namespace synthvol::imaging {

// What stands before the voxels of a .npy file.
struct NpyHeader {
  VoxelType type = VoxelType::kInt16;
  // Extents, slowest first; a volume is [z, y, x].
  std::vector<int64_t> shape;
  // Bytes before the first element.
  uint64_t data_offset = 0;

  // Returns the product of the extents.
  int64_t ElementCount() const;
};

// Returns the header's bytes; their count is a multiple of 64.
std::string FormatNpyHeader(VoxelType type, absl::Span<const int64_t> shape);

// Parses the header at the front of `prefix`, which holds the file's first bytes (64 KiB always
// suffice). INVALID_ARGUMENT names `where` and what was expected: other magic or version, other
// types than '<i2' and '<f4', Fortran order, more than 4 dimensions, 2^40 elements or more.
absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view prefix, const std::string& where);

// Reads and parses the header of a file and checks that the file's size agrees with it.
absl::StatusOr<NpyHeader> ReadNpyHeader(const std::string& path);

// Reads a whole int16 array; the shape goes to `shape`. Errors name the file.
absl::StatusOr<std::vector<int16_t>> ReadNpyInt16(const std::string& path,
                                                  std::vector<int64_t>* shape);
// Reads a whole float32 array; the shape goes to `shape`. Errors name the file.
absl::StatusOr<std::vector<float>> ReadNpyFloat32(const std::string& path,
                                                  std::vector<int64_t>* shape);

// A .npy file being written: header first, elements appended in C order.
class NpyWriter {
 public:
  // Opens `path` and writes the header.
  static absl::StatusOr<NpyWriter> Create(const std::string& path, VoxelType type,
                                          absl::Span<const int64_t> shape);

  // Appends elements. INVALID_ARGUMENT when the type is another or there are more than announced.
  absl::Status Append(absl::Span<const int16_t> elements);
  absl::Status Append(absl::Span<const float> elements);
  // Makes the file appear. FAILED_PRECONDITION when elements are missing.
  absl::Status Commit();

 private:
  NpyWriter(AtomicFile file, VoxelType type, int64_t missing);
  absl::Status AppendBytes(VoxelType type, std::string_view bytes);

  AtomicFile file_;
  VoxelType type_;
  int64_t missing_;
};

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_NPY_H_
