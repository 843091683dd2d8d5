// What a DICOM series of one synthetic volume is: how it is stored, where it lies, what made it and
// what the caller wants written about patient and study. The input of SeriesEncoder.
//
// Plain values: copying is cheap beside encoding; concurrent reads are safe.
#ifndef SYNTHVOL_IMAGING_DICOM_SERIES_DESCRIPTION_H_
#define SYNTHVOL_IMAGING_DICOM_SERIES_DESCRIPTION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "imaging/volume.h"

namespace synthvol::imaging::dicom {

enum class Storage {
  // CT or MR Image Storage, one instance a slice (PS3.3 A.3, A.4).
  kSlices,
  // Enhanced CT Image Storage, one multi-frame instance a volume (PS3.3 A.38.1). CT only.
  kEnhanced,
};

// PS3.5 Annex A.
enum class TransferSyntax {
  kExplicitLittleEndian,
  kImplicitLittleEndian,
  kDeflated,
  kRleLossless,
  kJpegLsLossless,
};

// How the volumes of one request are grouped.
enum class Grouping {
  // One study, one series a volume.
  kSeriesPerVolume,
  // One study a volume.
  kStudyPerVolume,
};

enum class Modality { kCt, kMr };

// Attributes that a caller may set, UTF-8; an empty one gets a synthetic default that cannot be
// mistaken for a person. Names and meaning as in synthvol.v1.DicomAttributes.
struct Attributes {
  std::string patient_name;              // PN
  std::string patient_id;                // LO
  std::string patient_birth_date;        // DA, YYYYMMDD
  std::string patient_sex;               // CS: M, F or O
  std::string study_instance_uid;        // UI
  std::string study_id;                  // SH
  std::string study_date;                // DA, YYYYMMDD
  std::string study_time;                // TM, HHMMSS.FFFFFF or a leading part of it
  std::string study_description;         // LO
  std::string accession_number;          // SH
  std::string referring_physician_name;  // PN
  std::string series_description;        // LO
  int32_t series_number = 0;             // IS; number of the first series, 0 stands for 1
};

struct SeriesDescription {
  Storage storage = Storage::kSlices;
  TransferSyntax transfer_syntax = TransferSyntax::kExplicitLittleEndian;
  Grouping grouping = Grouping::kSeriesPerVolume;
  Modality modality = Modality::kCt;
  // Body Part Examined: CHEST, HEAD, BRAIN, ABDOMEN or WHOLEBODY. Empty: CHEST for CT, not written
  // for MR.
  std::string body_part;
  Geometry geometry;
  // The range of stored units that the model renders.
  Window window;
  Attributes attributes;

  // What made the voxels. All of it is written into the series.
  std::string model_name;
  int64_t model_version = 1;
  std::string model_digest;  // SHA-256, hexadecimal
  // The latent in words: "42", or "mix of 1 and 2 at 0.25", or "latent SHA256". At most 200 bytes.
  std::string seed_text;
  std::optional<int64_t> class_label;
  std::string precision;  // "fp32", "bf16", "tf32"
  std::string build;      // synthvol::Build() of what synthesized

  // Names the request that this volume belongs to, the same for all its volumes (model digest,
  // first seed or latent, precision ...). UIDs are derived from it, from volume_index and from
  // every field above.
  std::string uid_key;
  // Index of the volume in the request.
  uint32_t volume_index = 0;
};

// Checks every value against its value representation (PS3.5 section 6.2) and the geometry against
// what the storage class can say. INVALID_ARGUMENT names the field by its path in the public API
// ("dicom.attributes.patient_name") and what is allowed.
absl::Status Validate(const SeriesDescription& description);

// Returns the UID of a transfer syntax or storage class (PS3.6 Annex A).
const char* TransferSyntaxUid(TransferSyntax syntax);
const char* StorageClassUid(Storage storage, Modality modality);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_SERIES_DESCRIPTION_H_
