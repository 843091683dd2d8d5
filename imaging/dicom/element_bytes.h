// Data elements as bytes, little endian (PS3.5 section 7.1), and the head of a file (PS3.10
// section 7.1). Private to imaging/dicom.
//
// Free functions, pure; they append to `out`.
#ifndef SYNTHVOL_IMAGING_DICOM_ELEMENT_BYTES_H_
#define SYNTHVOL_IMAGING_DICOM_ELEMENT_BYTES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "imaging/dicom/series_encoder.h"

namespace synthvol::imaging::dicom {

inline constexpr uint32_t kUndefinedLength = 0xFFFFFFFF;

// A tag as one number: group in the high half.
inline constexpr uint32_t kPixelDataTag = 0x7FE00010;

// Appends a number, low byte first.
void AppendUint16(uint16_t value, std::string& out);
void AppendUint32(uint32_t value, std::string& out);

// Appends tag, value representation (explicit syntaxes only) and length.
void AppendElementHead(uint32_t tag, std::string_view vr, uint32_t length, bool explicit_vr,
                       std::string& out);

// Appends a whole element of text, padded to even length: with NUL for UI, else with a space.
void AppendTextElement(uint32_t tag, std::string_view vr, std::string_view value, bool explicit_vr,
                       std::string& out);

// The head of an element as read back.
struct ElementHead {
  uint32_t tag = 0;
  std::string_view vr;      // in the bytes that were read; empty in implicit syntaxes
  size_t value_offset = 0;  // from the element's first byte
  uint32_t length = 0;
};

// Reads the head of the element at the front of `bytes`. INTERNAL when they end in its middle.
absl::StatusOr<ElementHead> ReadElementHead(std::string_view bytes, bool explicit_vr);

// Appends preamble, prefix and File Meta Information.
void AppendFileMeta(const InstanceIdentity& identity, std::string& out);

// Returns Implementation Class UID and Version Name, the same in files and in associations.
const std::string& ImplementationClassUid();
std::string ImplementationVersionName();

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_ELEMENT_BYTES_H_
