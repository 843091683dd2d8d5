#include "imaging/dicom/uid.h"

#include <algorithm>
#include <array>
#include <concepts>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/checksum.h"

namespace synthvol::imaging::dicom {
namespace {

// Returns the number as decimal digits.
std::string Decimal(unsigned __int128 number) {
  std::string digits;
  for (; number != 0; number /= 10)
    digits.push_back(static_cast<char>('0' + static_cast<int>(number % 10)));
  std::reverse(digits.begin(), digits.end());
  return digits;
}

// Collects values so that no two different lists give the same text: each is preceded by its
// length.
class Key {
 public:
  Key& Add(absl::string_view value) {
    absl::StrAppend(&text_, value.size(), ":", value, ";");
    return *this;
  }
  Key& Add(std::integral auto value) { return Add(absl::string_view(absl::StrCat(value))); }
  // All bits of the number count.
  Key& Add(double value) {
    std::array<char, sizeof(double)> bytes;
    std::copy_n(reinterpret_cast<const char*>(&value), bytes.size(), bytes.begin());
    return Add(absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size())));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void AddAttributes(const Attributes& a, Key& key) {
  for (const std::string* value :
       {&a.patient_name, &a.patient_id, &a.patient_birth_date, &a.patient_sex,
        &a.study_instance_uid, &a.study_id, &a.study_date, &a.study_time, &a.study_description,
        &a.accession_number, &a.referring_physician_name, &a.series_description}) {
    key.Add(*value);
  }
  key.Add(a.series_number);
}

// What all volumes of a request share.
void AddRequest(const SeriesDescription& d, Key& key) {
  key.Add(d.uid_key).Add(static_cast<int64_t>(d.storage)).Add(TransferSyntaxUid(d.transfer_syntax));
  key.Add(static_cast<int64_t>(d.grouping)).Add(static_cast<int64_t>(d.modality)).Add(d.body_part);
  for (const int64_t size : d.geometry.size) key.Add(size);
  for (const double value : d.geometry.spacing) key.Add(value);
  for (const double value : d.geometry.origin) key.Add(value);
  for (const double value : d.geometry.direction) key.Add(value);
  key.Add(d.window.low).Add(d.window.high);
  AddAttributes(d.attributes, key);
  key.Add(d.model_name).Add(d.model_version).Add(d.model_digest);
  key.Add(d.class_label.has_value() ? *d.class_label : -1).Add(d.precision).Add(d.build);
}

}  // namespace

std::string UidFromName(std::string_view name) {
  Sha256 hash;
  hash.Update(name);
  const std::string digest = hash.Finish();
  unsigned __int128 uuid = 0;
  for (int i = 0; i < 16; ++i) uuid = uuid << 8 | static_cast<unsigned char>(digest[i]);
  const auto set = [&uuid](int shift, unsigned mask, unsigned value) {
    uuid &= ~(static_cast<unsigned __int128>(mask) << shift);
    uuid |= static_cast<unsigned __int128>(value) << shift;
  };
  set(76, 0xF, 0x8);  // version 8: what the rest means is ours
  set(62, 0x3, 0x2);  // variant of RFC 9562
  // The top bit makes every number 39 digits long, so that files of a series differ in no length.
  set(127, 0x1, 0x1);
  return absl::StrCat("2.25.", Decimal(uuid));
}

SeriesUids::SeriesUids(const SeriesDescription& description) {
  Key study;
  AddRequest(description, study);
  if (description.grouping == Grouping::kStudyPerVolume) study.Add(description.volume_index);
  Key series;
  AddRequest(description, series);
  series.Add(description.volume_index).Add(description.seed_text);
  series_key_ = Sha256Hex(series.text());
  study_token_ = Sha256Hex(absl::StrCat("patient of ", study.text())).substr(0, 16);
  study_ = description.attributes.study_instance_uid;
  if (study_.empty()) study_ = UidFromName(absl::StrCat("study ", study.text()));
  series_ = UidFromName(absl::StrCat("series ", series_key_));
  frame_of_reference_ = UidFromName(absl::StrCat("frame of reference ", series_key_));
  dimension_organization_ = UidFromName(absl::StrCat("dimension organization ", series_key_));
  synthesis_event_ = UidFromName(absl::StrCat("synthesis event ", series_key_));
}

std::string SeriesUids::Instance(int64_t index) const {
  return UidFromName(absl::StrCat("instance ", index, " of ", series_key_));
}

}  // namespace synthvol::imaging::dicom
