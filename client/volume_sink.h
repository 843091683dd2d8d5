// Where the volumes of a Synthesize call go.
//
// A sink is called by one thread at a time, the one that runs Client::Synthesize, and is owned by
// the caller.
#ifndef SYNTHVOL_CLIENT_VOLUME_SINK_H_
#define SYNTHVOL_CLIENT_VOLUME_SINK_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "synthvol/v1/synthesis.pb.h"

namespace synthvol::client {

// A run of verified bytes that continues exactly where the one before ended, whatever happened to
// the connection in between. Views are valid during the call only.
struct VolumeData {
  uint32_t volume_index = 0;
  // Raw formats: offset in the whole volume. DICOM: offset in the file of `slice_index`.
  uint64_t offset = 0;
  std::string_view data;
  // Slice that the first byte belongs to.
  uint32_t slice_index = 0;
  // DICOM only: the file's name, letters, digits, '_', '-' and '.' only, on every piece.
  std::string_view file_name;
  // DICOM only: the file is complete with this piece.
  bool last_of_file = false;
};

// Receives volumes one after the other, each as Begin Data* End. A status other than OK cancels
// the call, which returns that status.
class VolumeSink {
 public:
  virtual ~VolumeSink() = default;

  // Starts a volume; data before slice `header.start_slice` is what the caller has already. Comes a
  // second time for the same volume when it must start over (another model or build answered after
  // a fail-over, or its digest did not match): everything received of it is void then.
  virtual absl::Status Begin(const v1::VolumeHeader& header) = 0;
  // Takes bytes whose CRC32C was checked.
  virtual absl::Status Data(const VolumeData& data) = 0;
  // Ends a volume whose byte count and digest were checked. `sha256` is hexadecimal, over all
  // bytes given since Begin; empty when the request's digest is CRC32C.
  virtual absl::Status End(const v1::VolumeTrailer& trailer, const std::string& sha256) = 0;

  // Tells that an attempt failed and another follows after `pause`.
  virtual void Retrying(const absl::Status& why, const std::string& next_endpoint,
                        absl::Duration pause);
};

// A volume held in memory.
struct ReceivedVolume {
  v1::VolumeHeader header;
  // Raw formats: the whole volume, [z, y, x]. Empty for DICOM.
  std::string data;
  // DICOM: file names and contents, in slice order.
  std::vector<std::pair<std::string, std::string>> files;
  // Hexadecimal; empty when the request's digest is CRC32C.
  std::string sha256;
};

// Keeps whole volumes in memory.
class MemorySink : public VolumeSink {
 public:
  absl::Status Begin(const v1::VolumeHeader& header) override;
  absl::Status Data(const VolumeData& data) override;
  absl::Status End(const v1::VolumeTrailer& trailer, const std::string& sha256) override;

  // Returns the volumes that are complete.
  std::vector<ReceivedVolume>& volumes() { return volumes_; }

 private:
  ReceivedVolume current_;
  std::vector<ReceivedVolume> volumes_;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_VOLUME_SINK_H_
