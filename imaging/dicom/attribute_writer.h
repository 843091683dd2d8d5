// Puts attributes into a DCMTK item and keeps the first failure, so that a module reads as a list
// of its attributes. Private to imaging/dicom.
//
// Not thread-safe. Does not own the item.
#ifndef SYNTHVOL_IMAGING_DICOM_ATTRIBUTE_WRITER_H_
#define SYNTHVOL_IMAGING_DICOM_ATTRIBUTE_WRITER_H_

#include "dcmtk/config/osconfig.h"
// DCMTK wants its configuration first.
#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "dcmtk/dcmdata/dctk.h"

namespace synthvol::imaging::dicom {

class AttributeWriter {
 public:
  explicit AttributeWriter(DcmItem& item) : item_(item) {}

  // Writes text as the dictionary's value representation of `tag`; empty text writes a zero-length
  // attribute.
  void Text(const DcmTag& tag, const std::string& value);
  // Writes a US attribute.
  void Short(const DcmTag& tag, uint16_t value);
  // Writes a UL attribute.
  void Longs(const DcmTag& tag, std::initializer_list<uint32_t> values);
  // Writes an AT attribute.
  void Tag(const DcmTag& tag, const DcmTagKey& value);
  // Writes numbers as decimal strings (DS).
  void Decimals(const DcmTag& tag, absl::Span<const double> values);
  // Writes a zero-length attribute (type 2, unknown) or an empty sequence.
  void Empty(const DcmTag& tag);
  // Appends an item to a sequence, made when absent; the item lives in this writer's item.
  DcmItem& SequenceItem(const DcmTag& tag);
  // Writes a sequence of one coded entry (PS3.3 section 8.8).
  void Code(const DcmTag& tag, const char* value, const char* scheme, const char* meaning);

  // Returns the first failure of any call (or that of a writer that was merged).
  absl::Status status() const;
  // Takes over the failure of another writer.
  void Merge(const AttributeWriter& other);

 private:
  void Keep(const DcmTag& tag, const OFCondition& condition);

  DcmItem& item_;
  // What SequenceItem hands out when it fails, so that callers need no check.
  DcmItem scratch_;
  std::string failure_;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_ATTRIBUTE_WRITER_H_
