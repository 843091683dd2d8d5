#include "imaging/dicom/element_bytes.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "base/version.h"
#include "imaging/dicom/value_representation.h"

namespace synthvol::imaging::dicom {
namespace {

constexpr size_t kPreambleLength = 128;

// Value representations with a 32-bit length after two reserved bytes (PS3.5 table 7.1-1).
bool HasLongLength(std::string_view vr) {
  static constexpr std::array<std::string_view, 13> kLong = {
      "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"};
  return std::find(kLong.begin(), kLong.end(), vr) != kLong.end();
}

uint32_t LoadUint(std::string_view bytes, size_t offset, size_t size) {
  uint32_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
  return value;
}

}  // namespace

void AppendUint16(uint16_t value, std::string& out) {
  out.push_back(static_cast<char>(value & 0xFF));
  out.push_back(static_cast<char>(value >> 8));
}

void AppendUint32(uint32_t value, std::string& out) {
  AppendUint16(static_cast<uint16_t>(value & 0xFFFF), out);
  AppendUint16(static_cast<uint16_t>(value >> 16), out);
}

void AppendElementHead(uint32_t tag, std::string_view vr, uint32_t length, bool explicit_vr,
                       std::string& out) {
  AppendUint16(static_cast<uint16_t>(tag >> 16), out);
  AppendUint16(static_cast<uint16_t>(tag & 0xFFFF), out);
  if (!explicit_vr) {
    AppendUint32(length, out);
    return;
  }
  out.append(vr);
  if (HasLongLength(vr)) {
    AppendUint16(0, out);
    AppendUint32(length, out);
  } else {
    AppendUint16(static_cast<uint16_t>(length), out);
  }
}

void AppendTextElement(uint32_t tag, std::string_view vr, std::string_view value, bool explicit_vr,
                       std::string& out) {
  const bool odd = value.size() % 2 != 0;
  AppendElementHead(tag, vr, static_cast<uint32_t>(value.size() + odd), explicit_vr, out);
  out.append(value);
  if (odd) out.push_back(vr == "UI" ? '\0' : ' ');
}

absl::StatusOr<ElementHead> ReadElementHead(std::string_view bytes, bool explicit_vr) {
  const absl::Status broken = absl::InternalError("encoded dataset ends within an element");
  if (bytes.size() < 8) return broken;
  ElementHead head;
  head.tag = LoadUint(bytes, 0, 2) << 16 | LoadUint(bytes, 2, 2);
  if (!explicit_vr) {
    head.length = LoadUint(bytes, 4, 4);
    head.value_offset = 8;
  } else {
    head.vr = bytes.substr(4, 2);
    const bool long_length = HasLongLength(head.vr);
    head.value_offset = long_length ? 12 : 8;
    if (bytes.size() < head.value_offset) return broken;
    head.length = long_length ? LoadUint(bytes, 8, 4) : LoadUint(bytes, 6, 2);
  }
  if (head.length > bytes.size() - head.value_offset) return broken;
  return head;
}

// PS3.10 table 7.1-1. Always explicit little endian.
void AppendFileMeta(const InstanceIdentity& identity, std::string& out) {
  std::string meta;
  AppendElementHead(0x00020001, "OB", 2, true, meta);  // 1: File Meta Information Version
  meta.append(std::string_view("\0\1", 2));
  AppendTextElement(0x00020002, "UI", identity.sop_class_uid, true, meta);        // 1
  AppendTextElement(0x00020003, "UI", identity.sop_instance_uid, true, meta);     // 1
  AppendTextElement(0x00020010, "UI", identity.transfer_syntax_uid, true, meta);  // 1
  AppendTextElement(0x00020012, "UI", ImplementationClassUid(), true, meta);      // 1
  AppendTextElement(0x00020013, "SH", ImplementationVersionName(), true, meta);   // 3
  out.append(kPreambleLength, '\0');
  out.append("DICM");
  AppendElementHead(0x00020000, "UL", 4, true, out);  // 1: File Meta Information Group Length
  AppendUint32(static_cast<uint32_t>(meta.size()), out);
  out.append(meta);
}

const std::string& ImplementationClassUid() {
  static const std::string* const uid =
      new std::string(UidFromName("synthvol implementation class"));
  return *uid;
}

std::string ImplementationVersionName() {
  return Truncate(absl::StrCat("SYNTHVOL_", Version()), 16);
}

}  // namespace synthvol::imaging::dicom
