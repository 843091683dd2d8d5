// Checksums of streams and files: CRC32C (chunks), SHA-256 (volumes, models, manifests).
//
// Free functions are pure. A Sha256 is not thread-safe; it owns its context.
#ifndef SYNTHVOL_BASE_CHECKSUM_H_
#define SYNTHVOL_BASE_CHECKSUM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace synthvol {

// Returns the CRC32C (Castagnoli) of `data`, as google.storage.v2 uses it.
uint32_t Crc32c(std::string_view data);

// Copies `data` to `to` and returns its CRC32C, reading memory once.
uint32_t CopyWithCrc32c(std::string_view data, char* to);

// Returns the CRC32C of two runs of bytes in a row, from theirs and the length of the second: about
// a microsecond, whatever the lengths.
uint32_t ConcatCrc32c(uint32_t first, uint32_t second, uint64_t second_bytes);

// Streaming SHA-256.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  // Adds bytes.
  void Update(std::string_view data);
  // Returns the 32 raw bytes and starts afresh.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Returns the SHA-256 of `data` as 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::string_view data);

// Reads a file in pieces and returns its SHA-256 in hexadecimal; an error names the path.
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

}  // namespace synthvol

#endif  // SYNTHVOL_BASE_CHECKSUM_H_
