// Names a received PS3.10 file: the three UIDs of its File Meta Information, read without a DICOM
// library.
//
// Pure function.
#ifndef SYNTHVOL_CLIENT_CLI_FILE_META_H_
#define SYNTHVOL_CLIENT_CLI_FILE_META_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "imaging/dicom/series_encoder.h"

namespace synthvol::client {

// Reads (0002,0002), (0002,0003) and (0002,0010) of group 2, always explicit VR little endian
// (PS3.10 section 7.1). DATA_LOSS when `file` is no PS3.10 file or lacks one of them.
absl::StatusOr<imaging::dicom::InstanceIdentity> ReadFileMeta(std::string_view file);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_FILE_META_H_
