// Slices of one volume on their way to disk, kept so that a process that died can go on where it
// was: what is whole is found again, by a CRC32C per slice, and nothing else is believed.
//
//   STEM.header   the VolumeHeader (what made the slices)
//   STEM.index    a record a slice: CRC32C, bytes, file name
//   STEM.data     raw formats: the slices, one after the other
//   STEM.files/   DICOM: a file a slice
//
// Not thread-safe; one object per volume.
#ifndef SYNTHVOL_CLIENT_CLI_SLICE_STORE_H_
#define SYNTHVOL_CLIENT_CLI_SLICE_STORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"

namespace synthvol::client {

// One slice that is on disk, whole.
struct StoredSlice {
  uint32_t crc32c = 0;
  uint64_t bytes = 0;
  std::string file_name;  // DICOM only
};

class SliceStore {
 public:
  // A store for `stem` (no extension) in `folder`, which exists. Reads what is there.
  SliceStore(const std::string& folder, const std::string& stem);
  ~SliceStore();
  SliceStore(const SliceStore&) = delete;
  SliceStore& operator=(const SliceStore&) = delete;

  // What made the slices that are here; nothing when there are none.
  const std::optional<v1::VolumeHeader>& header() const { return header_; }
  // Slices that are whole, from the first on.
  const std::vector<StoredSlice>& slices() const { return slices_; }

  // Starts a volume: keeps the first `header.start_slice` slices and drops the others.
  absl::Status Begin(const v1::VolumeHeader& header);
  // Adds bytes of the slice (raw) or file (DICOM) that is under way; writes it when it is whole.
  absl::Status Append(const VolumeData& data);

  // Path of the raw slices, one after the other.
  std::string data_path() const { return base_ + ".data"; }
  // Folder of the DICOM files.
  std::string files_path() const { return base_ + ".files"; }
  // Returns the SHA-256 over all slices here, as the trailer of an unbroken stream has it.
  absl::StatusOr<std::string> Sha256Hex() const;
  // Makes everything durable.
  absl::Status Sync();
  // Removes what is left of it.
  void Remove();

 private:
  bool dicom() const { return header_->format() == v1::VOLUME_FORMAT_DICOM; }
  uint64_t SliceBytes() const;
  void Recover();
  absl::Status WriteSlice(const std::string& file_name);
  absl::Status Open();

  const std::string base_;
  std::optional<v1::VolumeHeader> header_;
  std::vector<StoredSlice> slices_;
  std::string pending_;  // of the slice under way
  int data_fd_ = -1;
  int index_fd_ = -1;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_SLICE_STORE_H_
