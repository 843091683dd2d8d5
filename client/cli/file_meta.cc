#include "client/cli/file_meta.h"

#include <cstdint>
#include <string>

namespace synthvol::client {
namespace {

constexpr size_t kPreamble = 128;

uint32_t LittleEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;)
    value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Value representations with a 32-bit length (PS3.5 section 7.1.2) that occur in group 2.
bool HasLongLength(std::string_view vr) {
  return vr == "OB" || vr == "OW" || vr == "UN" || vr == "SQ" || vr == "UT";
}

}  // namespace

absl::StatusOr<imaging::dicom::InstanceIdentity> ReadFileMeta(std::string_view file) {
  const absl::Status broken =
      absl::DataLossError("the server sent a file that is not DICOM (PS3.10)");
  if (file.size() < kPreamble + 4 || file.substr(kPreamble, 4) != "DICM") return broken;
  std::string_view rest = file.substr(kPreamble + 4);
  imaging::dicom::InstanceIdentity identity;
  while (rest.size() >= 8 && LittleEndian(rest.substr(0, 2)) == 0x0002) {
    const uint32_t element = LittleEndian(rest.substr(2, 2));
    const bool long_length = HasLongLength(rest.substr(4, 2));
    const size_t head = long_length ? 12 : 8;
    if (rest.size() < head) return broken;
    const uint32_t length =
        long_length ? LittleEndian(rest.substr(8, 4)) : LittleEndian(rest.substr(6, 2));
    if (rest.size() - head < length) return broken;
    std::string value(rest.substr(head, length));
    // UIDs are padded to even length with a zero byte.
    while (!value.empty() && value.back() == '\0') value.pop_back();
    if (element == 0x0002) identity.sop_class_uid = value;
    if (element == 0x0003) identity.sop_instance_uid = value;
    if (element == 0x0010) identity.transfer_syntax_uid = value;
    rest.remove_prefix(head + length);
  }
  if (identity.sop_class_uid.empty() || identity.sop_instance_uid.empty() ||
      identity.transfer_syntax_uid.empty()) {
    return broken;
  }
  return identity;
}

}  // namespace synthvol::client
