// The values that stand where the caller gave none, and the marks that a synthetic series always
// carries. Private to imaging/dicom.
//
// Free functions, pure; they expect a description that Validate accepts.
#ifndef SYNTHVOL_IMAGING_DICOM_DEFAULTS_H_
#define SYNTHVOL_IMAGING_DICOM_DEFAULTS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "imaging/dicom/series_description.h"

namespace synthvol::imaging::dicom {

inline constexpr absl::string_view kSyntheticMark = "SYNTHETIC ";
inline constexpr char kManufacturer[] = "synthvol";
inline constexpr char kDefaultPatientName[] = "SYNTHETIC^SYNTHVOL";
inline constexpr char kDefaultStudyDescription[] = "SYNTHETIC, no patient was imaged";
// Stands where a date is type 1 and the caller gave no study date: bytes may not depend on the
// clock.
inline constexpr char kPlaceholderDate[] = "19000101";
inline constexpr char kPlaceholderTime[] = "000000";

// Returns "CT" or "MR".
const char* ModalityCode(Modality modality);

// A body part as Body Part Examined and as an anatomic region of SNOMED CT (PS3.16 Annex L).
struct BodyPart {
  const char* code_string;
  const char* code_value;
  const char* code_meaning;
};

// Returns the body part of the series; null for none (an MR without one) and for an unknown one.
const BodyPart* ResolvedBodyPart(const SeriesDescription& description);

// Returns Series Description (LO): the caller's with the mark "SYNTHETIC " in front unless it says
// synthetic itself, or "SYNTHETIC CT MODEL seed 42" cut to 64 characters.
std::string ResolvedSeriesDescription(const SeriesDescription& description);

// Returns Series Number: the request's first plus the volume's index where volumes share a study.
int64_t ResolvedSeriesNumber(const SeriesDescription& description);

// Returns what made the voxels in one line: model, version, digest, seed, class, precision, build.
// Goes into Derivation Description and Contribution Description (ST, 1024 characters).
std::string ProvenanceText(const SeriesDescription& description);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_DEFAULTS_H_
