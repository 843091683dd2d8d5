#include "imaging/dicom/modules.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "imaging/dicom/defaults.h"
#include "imaging/dicom/slice_geometry.h"

namespace synthvol::imaging::dicom {
namespace {

const std::string& Or(const std::string& given, const std::string& fallback) {
  return given.empty() ? fallback : given;
}

}  // namespace

// PS3.3 C.7.1.1.
void AddPatientModule(const ModuleInput& in, AttributeWriter& to) {
  const Attributes& given = in.description.attributes;
  to.Text(DCM_PatientName, Or(given.patient_name, kDefaultPatientName));              // 2
  to.Text(DCM_PatientID, Or(given.patient_id, "SYN-" + in.uids.study_token()));       // 2
  to.Text(DCM_PatientBirthDate, given.patient_birth_date);                            // 2
  to.Text(DCM_PatientSex, given.patient_sex);                                         // 2
  to.Text(DCM_PatientIdentityRemoved, "YES");                                         // 3
  to.Text(DCM_DeidentificationMethod, "Synthetic image: it never showed a patient");  // 1C
}

// PS3.3 C.7.2.1.
void AddGeneralStudyModule(const ModuleInput& in, AttributeWriter& to) {
  const Attributes& given = in.description.attributes;
  to.Text(DCM_StudyInstanceUID, in.uids.study());                                         // 1
  to.Text(DCM_StudyDate, given.study_date);                                               // 2
  to.Text(DCM_StudyTime, given.study_time);                                               // 2
  to.Text(DCM_ReferringPhysicianName, given.referring_physician_name);                    // 2
  to.Text(DCM_StudyID, Or(given.study_id, "SYN" + in.uids.study_token().substr(0, 12)));  // 2
  to.Text(DCM_AccessionNumber, given.accession_number);                                   // 2
  to.Text(DCM_StudyDescription, Or(given.study_description, kDefaultStudyDescription));   // 3
}

// PS3.3 C.7.3.1; for Enhanced CT also the CT Series module, C.8.15.1, which asks for less.
void AddGeneralSeriesModule(const ModuleInput& in, AttributeWriter& to) {
  to.Text(DCM_Modality, ModalityCode(in.description.modality));                   // 1
  to.Text(DCM_SeriesInstanceUID, in.uids.series());                               // 1
  to.Text(DCM_SeriesNumber, absl::StrCat(ResolvedSeriesNumber(in.description)));  // 2
  to.Text(DCM_SeriesDescription, ResolvedSeriesDescription(in.description));      // 3
  if (const BodyPart* part = ResolvedBodyPart(in.description); part != nullptr) {
    to.Text(DCM_BodyPartExamined, part->code_string);  // 3
  } else {
    to.Empty(DCM_Laterality);  // 2C: the body part might be a paired one
  }
  to.Text(DCM_PatientPosition, "HFS");  // 2C: CT or MR Image
}

// PS3.3 C.7.4.1.
void AddFrameOfReferenceModule(const ModuleInput& in, AttributeWriter& to) {
  to.Text(DCM_FrameOfReferenceUID, in.uids.frame_of_reference());  // 1
  to.Empty(DCM_PositionReferenceIndicator);                        // 2: there is no landmark
}

// PS3.3 C.7.5.1, and C.7.5.2 (Enhanced General Equipment), which makes all of it type 1.
void AddGeneralEquipmentModule(const ModuleInput& in, AttributeWriter& to) {
  to.Text(DCM_Manufacturer, kManufacturer);                       // 2 (1)
  to.Text(DCM_ManufacturerModelName, in.description.model_name);  // 3 (1)
  to.Text(DCM_DeviceSerialNumber, in.description.model_digest);   // 3 (1)
  to.Text(DCM_SoftwareVersions, in.description.build);            // 3 (1)
}

// PS3.3 C.7.6.3, without Pixel Data, which follows the dataset.
void AddImagePixelModule(const ModuleInput& in, AttributeWriter& to) {
  const Geometry& geometry = in.description.geometry;
  to.Short(DCM_SamplesPerPixel, 1);                                // 1
  to.Text(DCM_PhotometricInterpretation, "MONOCHROME2");           // 1
  to.Short(DCM_Rows, static_cast<uint16_t>(geometry.size[1]));     // 1
  to.Short(DCM_Columns, static_cast<uint16_t>(geometry.size[0]));  // 1
  to.Short(DCM_BitsAllocated, 16);                                 // 1
  to.Short(DCM_BitsStored, 16);                                    // 1
  to.Short(DCM_HighBit, 15);                                       // 1
  to.Short(DCM_PixelRepresentation, 1);                            // 1: two's complement
}

// PS3.3 C.12.1. Says in two ways, each without private tags, that the image is synthetic.
void AddSopCommonModule(const ModuleInput& in, AttributeWriter& to) {
  const SeriesDescription& d = in.description;
  // DCMTK 3.6.7 has no name for it.
  const DcmTag synthetic_data(0x0008, 0x001C, EVR_CS);
  to.Text(DCM_SOPClassUID, StorageClassUid(d.storage, d.modality));  // 1
  to.Text(DCM_SOPInstanceUID, in.uids.Instance(0));                  // 1
  to.Text(DCM_SpecificCharacterSet, "ISO_IR 192");                   // 1C: UTF-8
  to.Text(synthetic_data, "YES");                                    // 3
  to.Text(DCM_InstanceNumber, "1");                                  // 3, 2 in General Image

  AttributeWriter equipment(to.SequenceItem(DCM_ContributingEquipmentSequence));  // 3
  equipment.Code(DCM_PurposeOfReferenceCodeSequence, "109100", "DCM",
                 "Synthesizing Equipment");                        // 1
  equipment.Text(DCM_Manufacturer, kManufacturer);                 // 1
  equipment.Text(DCM_ManufacturerModelName, d.model_name);         // 3
  equipment.Text(DCM_DeviceSerialNumber, d.model_digest);          // 3
  equipment.Text(DCM_SoftwareVersions, d.build);                   // 3
  equipment.Text(DCM_ContributionDescription, ProvenanceText(d));  // 3
  to.Merge(equipment);
}

// PS3.3 C.7.6.1.
void AddGeneralImageModule(const ModuleInput& in, AttributeWriter& to) {
  to.Text(DCM_ImageType, in.description.modality == Modality::kMr
                             ? "DERIVED\\SECONDARY\\OTHER"
                             : "DERIVED\\SECONDARY\\AXIAL");           // 3, 1 in CT and MR Image
  to.Text(DCM_AcquisitionNumber, "1");                                 // 3, 2 in CT Image
  to.Text(DCM_DerivationDescription, ProvenanceText(in.description));  // 3
  to.Text(DCM_ImageComments, "Synthetic image, not for diagnosis");    // 3
  to.Text(DCM_BurnedInAnnotation, "NO");                               // 3
  to.Text(DCM_RecognizableVisualFeatures, "NO");                       // 3
  to.Text(DCM_LossyImageCompression, "00");                            // 3
}

// PS3.3 C.7.6.2.
void AddImagePlaneModule(const ModuleInput& in, AttributeWriter& to) {
  const Geometry& geometry = in.description.geometry;
  to.Decimals(DCM_PixelSpacing, PixelSpacing(geometry));                 // 1
  to.Decimals(DCM_ImageOrientationPatient, ImageOrientation(geometry));  // 1
  to.Decimals(DCM_ImagePositionPatient, geometry.origin);                // 1
  to.Decimals(DCM_SliceThickness, {geometry.spacing[2]});                // 2
  to.Decimals(DCM_SpacingBetweenSlices, {geometry.spacing[2]});          // 3
  to.Decimals(DCM_SliceLocation, {SliceLocation(geometry, 0)});          // 3
}

// PS3.3 C.8.2.1; what it shares with General Image and Image Pixel stands there.
void AddCtImageModule(const ModuleInput&, AttributeWriter& to) {
  to.Text(DCM_RescaleIntercept, "0");  // 1
  to.Text(DCM_RescaleSlope, "1");      // 1
  to.Text(DCM_RescaleType, "HU");      // 1C: type 3 value of Image Type is not LOCALIZER
  to.Empty(DCM_KVP);                   // 2: there was no tube
}

// PS3.3 C.8.3.1; what it shares with General Image and Image Pixel stands there.
void AddMrImageModule(const ModuleInput&, AttributeWriter& to) {
  to.Text(DCM_ScanningSequence, "RM");   // 1: research mode, there was no sequence
  to.Text(DCM_SequenceVariant, "NONE");  // 1
  to.Empty(DCM_ScanOptions);             // 2
  to.Text(DCM_MRAcquisitionType, "3D");  // 2
  to.Empty(DCM_RepetitionTime);          // 2C
  to.Empty(DCM_EchoTime);                // 2
  to.Empty(DCM_EchoTrainLength);         // 2
}

// PS3.3 C.11.2: what a viewer shows first.
void AddVoiLutModule(const ModuleInput& in, AttributeWriter& to) {
  AddDisplayWindow(in.description, to);
}

absl::Status AddAllModules(const ModuleInput& in, DcmItem& dataset) {
  AttributeWriter to(dataset);
  AddPatientModule(in, to);
  AddGeneralStudyModule(in, to);
  AddGeneralSeriesModule(in, to);
  AddFrameOfReferenceModule(in, to);
  AddGeneralEquipmentModule(in, to);
  AddImagePixelModule(in, to);
  if (in.description.storage == Storage::kEnhanced) {
    AddMultiFrameFunctionalGroupsModule(in, to);
    AddMultiFrameDimensionModule(in, to);
    AddAcquisitionContextModule(in, to);
    AddEnhancedCtImageModule(in, to);
  } else {
    AddGeneralImageModule(in, to);
    AddImagePlaneModule(in, to);
    if (in.description.modality == Modality::kMr) {
      AddMrImageModule(in, to);
    } else {
      AddCtImageModule(in, to);
    }
    AddVoiLutModule(in, to);
  }
  AddSopCommonModule(in, to);
  return to.status();
}

}  // namespace synthvol::imaging::dicom
