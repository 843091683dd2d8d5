#include "imaging/dicom/defaults.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "imaging/dicom/value_representation.h"

namespace synthvol::imaging::dicom {

const BodyPart* ResolvedBodyPart(const SeriesDescription& description) {
  static constexpr BodyPart kBodyParts[] = {
      {"CHEST", "51185008", "Chest"},    {"HEAD", "69536005", "Head"},
      {"BRAIN", "12738006", "Brain"},    {"ABDOMEN", "818981001", "Abdomen"},
      {"WHOLEBODY", "38266002", "Body"},
  };
  std::string wanted = description.body_part;
  if (wanted.empty() && description.modality == Modality::kCt) wanted = "CHEST";
  for (const BodyPart& part : kBodyParts) {
    if (wanted == part.code_string) return &part;
  }
  return nullptr;
}

const char* ModalityCode(Modality modality) { return modality == Modality::kMr ? "MR" : "CT"; }

std::string ResolvedSeriesDescription(const SeriesDescription& description) {
  const std::string& given = description.attributes.series_description;
  if (given.empty()) {
    return Truncate(absl::StrCat(kSyntheticMark, ModalityCode(description.modality), " ",
                                 description.model_name, " seed ", description.seed_text),
                    64);
  }
  if (absl::StrContains(absl::AsciiStrToLower(given), "synthetic")) return given;
  return absl::StrCat(kSyntheticMark, given);
}

int64_t ResolvedSeriesNumber(const SeriesDescription& description) {
  const int64_t first = std::max<int64_t>(description.attributes.series_number, 1);
  const bool shared = description.grouping == Grouping::kSeriesPerVolume;
  // IS holds 32 bits.
  return std::min<int64_t>(first + (shared ? description.volume_index : 0), 2147483647);
}

std::string ProvenanceText(const SeriesDescription& d) {
  std::string text = absl::StrCat("Synthetic image made by synthvol ", d.build, ": model ",
                                  d.model_name, " version ", d.model_version, ", SHA-256 ",
                                  d.model_digest, ", seed ", d.seed_text);
  if (d.class_label.has_value()) absl::StrAppend(&text, ", class ", *d.class_label);
  if (!d.precision.empty()) absl::StrAppend(&text, ", ", d.precision);
  return text;
}

}  // namespace synthvol::imaging::dicom
