#include "imaging/dicom/series_description.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "imaging/dicom/defaults.h"
#include "imaging/dicom/value_representation.h"

namespace synthvol::imaging::dicom {
namespace {

// Rows, Columns and Number of Frames: US and IS; a PACS loads a volume whole.
constexpr int64_t kMaxSide = 65535;
// The length of Pixel Data is a 32-bit number, 0xFFFFFFFF is reserved (PS3.5 section 7.1.1).
constexpr int64_t kMaxPixelBytes = 0xFFFFFFFE;
constexpr double kDirectionTolerance = 1e-6;

absl::Status CheckAttributes(const SeriesDescription& description) {
  const Attributes& a = description.attributes;
  struct Field {
    const char* path;
    Vr vr;
    const std::string& value;
  };
  const Field fields[] = {
      {"dicom.attributes.patient_name", Vr::kPn, a.patient_name},
      {"dicom.attributes.patient_id", Vr::kLo, a.patient_id},
      {"dicom.attributes.patient_birth_date", Vr::kDa, a.patient_birth_date},
      {"dicom.attributes.patient_sex", Vr::kCs, a.patient_sex},
      {"dicom.attributes.study_instance_uid", Vr::kUi, a.study_instance_uid},
      {"dicom.attributes.study_id", Vr::kSh, a.study_id},
      {"dicom.attributes.study_date", Vr::kDa, a.study_date},
      {"dicom.attributes.study_time", Vr::kTm, a.study_time},
      {"dicom.attributes.study_description", Vr::kLo, a.study_description},
      {"dicom.attributes.accession_number", Vr::kSh, a.accession_number},
      {"dicom.attributes.referring_physician_name", Vr::kPn, a.referring_physician_name},
      {"dicom.attributes.series_description", Vr::kLo, a.series_description},
  };
  for (const Field& field : fields) {
    if (field.value.empty()) continue;
    if (absl::Status status = CheckValue(field.path, field.vr, field.value); !status.ok()) {
      return status;
    }
  }
  if (!a.patient_sex.empty() && a.patient_sex != "M" && a.patient_sex != "F" &&
      a.patient_sex != "O") {
    return absl::InvalidArgumentError("dicom.attributes.patient_sex: expected M, F or O");
  }
  if (CountCharacters(ResolvedSeriesDescription(description)) > 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("dicom.attributes.series_description: expected at most ",
                     64 - kSyntheticMark.size(), " characters, since \"", kSyntheticMark,
                     "\" is written in front, or the word synthetic in it"));
  }
  if (a.series_number < 0) {
    return absl::InvalidArgumentError("dicom.attributes.series_number: expected 0 or more");
  }
  if (description.grouping == Grouping::kStudyPerVolume && !a.study_instance_uid.empty()) {
    return absl::InvalidArgumentError(
        "dicom.attributes.study_instance_uid: one UID cannot name several studies; leave it empty, "
        "or "
        "group one series a volume");
  }
  return absl::OkStatus();
}

absl::Status CheckDirection(const std::array<double, 9>& d) {
  const auto column = [&](int k) { return std::array<double, 3>{d[k], d[3 + k], d[6 + k]}; };
  const auto dot = [](const std::array<double, 3>& a, const std::array<double, 3>& b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  };
  for (int i = 0; i < 3; ++i) {
    for (int j = i; j < 3; ++j) {
      const double expected = i == j ? 1.0 : 0.0;
      // Written so that NaN fails too.
      if (!(std::abs(dot(column(i), column(j)) - expected) <= kDirectionTolerance)) {
        return absl::InvalidArgumentError(
            "geometry.direction: expected three orthogonal columns of length 1");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckGeometry(const SeriesDescription& description) {
  const Geometry& g = description.geometry;
  for (int axis = 0; axis < 3; ++axis) {
    if (g.size[axis] < 1 || g.size[axis] > kMaxSide) {
      return absl::InvalidArgumentError(
          absl::StrCat("geometry.size: expected 1..", kMaxSide, " voxels along every axis"));
    }
    if (!(g.spacing[axis] > 0) || !std::isfinite(g.spacing[axis])) {
      return absl::InvalidArgumentError("geometry.spacing: expected positive millimetres");
    }
    if (!std::isfinite(g.origin[axis])) {
      return absl::InvalidArgumentError("geometry.origin: expected finite millimetres");
    }
  }
  if (description.storage == Storage::kEnhanced && g.VoxelCount() > kMaxPixelBytes / 2) {
    return absl::InvalidArgumentError(
        "dicom.storage: the volume is larger than the 4 GiB that one multi-frame instance holds; "
        "ask for "
        "slices");
  }
  return CheckDirection(g.direction);
}

absl::Status CheckProvenance(const SeriesDescription& d) {
  if (d.model_name.empty() || d.uid_key.empty()) {
    return absl::InvalidArgumentError("model name and UID key: expected non-empty text");
  }
  const bool hexadecimal = std::all_of(d.model_digest.begin(), d.model_digest.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (d.model_digest.size() != 64 || !hexadecimal) {
    return absl::InvalidArgumentError(
        "model digest: expected a SHA-256 as 64 lower-case hexadecimal digits");
  }
  if (absl::Status s = CheckValue("model name", Vr::kLo, d.model_name); !s.ok()) return s;
  if (!d.body_part.empty() && ResolvedBodyPart(d) == nullptr) {
    return absl::InvalidArgumentError(
        "body part: expected CHEST, HEAD, BRAIN, ABDOMEN or WHOLEBODY");
  }
  if (absl::Status s = CheckValue("build", Vr::kLo, d.build); !s.ok()) return s;
  if (absl::Status s = CheckValue("precision", Vr::kSh, d.precision); !s.ok()) return s;
  if (absl::Status s = CheckText("seed text", d.seed_text, 200); !s.ok()) return s;
  if (!std::isfinite(d.window.low) || !std::isfinite(d.window.high) ||
      !(d.window.low < d.window.high)) {
    return absl::InvalidArgumentError("window: expected low below high");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const SeriesDescription& description) {
  if (description.storage == Storage::kEnhanced && description.modality != Modality::kCt) {
    return absl::InvalidArgumentError(
        "dicom.storage: ENHANCED is Enhanced CT Image Storage and needs a CT model; ask for "
        "SLICES");
  }
  if (absl::Status status = CheckProvenance(description); !status.ok()) return status;
  if (absl::Status status = CheckGeometry(description); !status.ok()) return status;
  return CheckAttributes(description);
}

const char* TransferSyntaxUid(TransferSyntax syntax) {
  switch (syntax) {
    case TransferSyntax::kImplicitLittleEndian:
      return "1.2.840.10008.1.2";
    case TransferSyntax::kExplicitLittleEndian:
      return "1.2.840.10008.1.2.1";
    case TransferSyntax::kDeflated:
      return "1.2.840.10008.1.2.1.99";
    case TransferSyntax::kRleLossless:
      return "1.2.840.10008.1.2.5";
    case TransferSyntax::kJpegLsLossless:
      return "1.2.840.10008.1.2.4.80";
  }
  return "";
}

const char* StorageClassUid(Storage storage, Modality modality) {
  if (storage == Storage::kEnhanced) return "1.2.840.10008.5.1.4.1.1.2.1";
  return modality == Modality::kMr ? "1.2.840.10008.5.1.4.1.1.4" : "1.2.840.10008.5.1.4.1.1.2";
}

}  // namespace synthvol::imaging::dicom
