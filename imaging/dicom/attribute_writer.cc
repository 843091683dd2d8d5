#include "imaging/dicom/attribute_writer.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "imaging/dicom/value_representation.h"

namespace synthvol::imaging::dicom {

void AttributeWriter::Keep(const DcmTag& tag, const OFCondition& condition) {
  if (condition.good() || !failure_.empty()) return;
  failure_ = absl::StrCat("attribute ", tag.toString(), ": ", condition.text());
}

void AttributeWriter::Text(const DcmTag& tag, const std::string& value) {
  Keep(tag, item_.putAndInsertOFStringArray(tag, value.c_str()));
}

void AttributeWriter::Short(const DcmTag& tag, uint16_t value) {
  Keep(tag, item_.putAndInsertUint16(tag, value));
}

void AttributeWriter::Longs(const DcmTag& tag, std::initializer_list<uint32_t> values) {
  Keep(tag, item_.putAndInsertUint32Array(tag, std::data(values), values.size()));
}

void AttributeWriter::Tag(const DcmTag& tag, const DcmTagKey& value) {
  Keep(tag, item_.putAndInsertTagKey(tag, value));
}

void AttributeWriter::Decimals(const DcmTag& tag, absl::Span<const double> values) {
  Text(tag, absl::StrJoin(values, "\\", [](std::string* out, double value) {
         out->append(FormatDecimalString(value));
       }));
}

void AttributeWriter::Empty(const DcmTag& tag) { Keep(tag, item_.insertEmptyElement(tag)); }

DcmItem& AttributeWriter::SequenceItem(const DcmTag& tag) {
  DcmItem* item = nullptr;
  Keep(tag, item_.findOrCreateSequenceItem(tag, item, -2 /* append */));
  return item == nullptr ? scratch_ : *item;
}

// Code Sequence Macro, PS3.3 table 8.8-1.
void AttributeWriter::Code(const DcmTag& tag, const char* value, const char* scheme,
                           const char* meaning) {
  AttributeWriter code(SequenceItem(tag));
  code.Text(DCM_CodeValue, value);                // 1C
  code.Text(DCM_CodingSchemeDesignator, scheme);  // 1C
  code.Text(DCM_CodeMeaning, meaning);            // 1
  Merge(code);
}

absl::Status AttributeWriter::status() const {
  return failure_.empty() ? absl::OkStatus() : absl::InternalError(failure_);
}

void AttributeWriter::Merge(const AttributeWriter& other) {
  if (failure_.empty()) failure_ = other.failure_;
}

}  // namespace synthvol::imaging::dicom
