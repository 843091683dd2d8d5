// The modules and functional groups of Enhanced CT Image Storage (PS3.3 A.38.1). Frame i is slice
// i.
#include <string>

#include "absl/strings/str_cat.h"
#include "imaging/dicom/defaults.h"
#include "imaging/dicom/modules.h"
#include "imaging/dicom/slice_geometry.h"

namespace synthvol::imaging::dicom {
namespace {

constexpr char kStackId[] = "1";
// Value 2 is PRIMARY for every enhanced image (PS3.3 C.8.16.1.2).
constexpr char kFrameType[] = "DERIVED\\PRIMARY\\VOLUME\\NONE";

// Pixel Measures Macro, PS3.3 C.7.6.16.2.1.
void AddPixelMeasures(const ModuleInput& in, AttributeWriter& group) {
  const Geometry& geometry = in.description.geometry;
  AttributeWriter to(group.SequenceItem(DCM_PixelMeasuresSequence));  // 1
  to.Decimals(DCM_PixelSpacing, PixelSpacing(geometry));              // 1C
  to.Decimals(DCM_SliceThickness, {geometry.spacing[2]});             // 1C
  to.Decimals(DCM_SpacingBetweenSlices, {geometry.spacing[2]});       // 3
  group.Merge(to);
}

// Plane Orientation (Patient) Macro, PS3.3 C.7.6.16.2.4.
void AddPlaneOrientation(const ModuleInput& in, AttributeWriter& group) {
  AttributeWriter to(group.SequenceItem(DCM_PlaneOrientationSequence));                 // 1
  to.Decimals(DCM_ImageOrientationPatient, ImageOrientation(in.description.geometry));  // 1C
  group.Merge(to);
}

// Frame Anatomy Macro, PS3.3 C.7.6.16.2.8.
void AddFrameAnatomy(const ModuleInput& in, AttributeWriter& group) {
  AttributeWriter to(group.SequenceItem(DCM_FrameAnatomySequence));  // 1
  to.Text(DCM_FrameLaterality, "U");                                 // 1: unpaired
  const BodyPart* part = ResolvedBodyPart(in.description);
  to.Code(DCM_AnatomicRegionSequence, part->code_value, "SCT", part->code_meaning);  // 1
  group.Merge(to);
}

// Pixel Value Transformation Macro, PS3.3 C.7.6.16.2.9.
void AddPixelValueTransformation(AttributeWriter& group) {
  AttributeWriter to(group.SequenceItem(DCM_PixelValueTransformationSequence));  // 1
  to.Text(DCM_RescaleIntercept, "0");                                            // 1
  to.Text(DCM_RescaleSlope, "1");                                                // 1
  to.Text(DCM_RescaleType, "HU");                                                // 1
  group.Merge(to);
}

// Frame VOI LUT Macro, PS3.3 C.7.6.16.2.10.
void AddFrameVoiLut(const ModuleInput& in, AttributeWriter& group) {
  AttributeWriter to(group.SequenceItem(DCM_FrameVOILUTSequence));  // 1
  AddDisplayWindow(in.description, to);
  group.Merge(to);
}

// Irradiation Event Identification Macro (PS3.3 section C.8.15). Nobody was irradiated; the
// standard allows the macro for derived frames, and dciodvfy asks for it, so the event is the
// synthesis.
void AddIrradiationEvent(const ModuleInput& in, AttributeWriter& group) {
  AttributeWriter to(group.SequenceItem(DCM_IrradiationEventIdentificationSequence));  // 1
  to.Text(DCM_IrradiationEventUID, in.uids.synthesis_event());                         // 1
  group.Merge(to);
}

// Common CT/MR and Photoacoustic Image Description Macro, PS3.3 C.8.16.2.
void AddCommonImageDescription(AttributeWriter& to) {
  to.Text(DCM_PixelPresentation, "MONOCHROME");          // 1
  to.Text(DCM_VolumetricProperties, "VOLUME");           // 1
  to.Text(DCM_VolumeBasedCalculationTechnique, "NONE");  // 1
}

// CT Image Frame Type Macro, PS3.3 C.8.15.3.1.
void AddCtImageFrameType(AttributeWriter& group) {
  AttributeWriter to(group.SequenceItem(DCM_CTImageFrameTypeSequence));  // 1
  to.Text(DCM_FrameType, kFrameType);                                    // 1
  AddCommonImageDescription(to);
  group.Merge(to);
}

// Frame Content Macro, PS3.3 C.7.6.16.2.2, and Plane Position (Patient) Macro, C.7.6.16.2.3.
void AddFrame(const ModuleInput& in, int64_t index, AttributeWriter& to) {
  const uint32_t position = static_cast<uint32_t>(index) + 1;
  AttributeWriter group(to.SequenceItem(DCM_PerFrameFunctionalGroupsSequence));             // 1
  AttributeWriter content(group.SequenceItem(DCM_FrameContentSequence));                    // 1
  content.Text(DCM_StackID, kStackId);                                                      // 1C
  content.Longs(DCM_InStackPositionNumber, {position});                                     // 1C
  content.Longs(DCM_DimensionIndexValues, {1, position});                                   // 1C
  AttributeWriter plane(group.SequenceItem(DCM_PlanePositionSequence));                     // 1
  plane.Decimals(DCM_ImagePositionPatient, ImagePosition(in.description.geometry, index));  // 1C
  to.Merge(content);
  to.Merge(plane);
  to.Merge(group);
}

void AddDimension(const ModuleInput& in, const DcmTagKey& pointer, const char* label,
                  AttributeWriter& to) {
  AttributeWriter index(to.SequenceItem(DCM_DimensionIndexSequence));          // 1
  index.Tag(DCM_DimensionIndexPointer, pointer);                               // 1
  index.Tag(DCM_FunctionalGroupPointer, DCM_FrameContentSequence);             // 1C
  index.Text(DCM_DimensionOrganizationUID, in.uids.dimension_organization());  // 1C
  index.Text(DCM_DimensionDescriptionLabel, label);                            // 3
  to.Merge(index);
}

}  // namespace

// PS3.3 C.7.6.16.
void AddMultiFrameFunctionalGroupsModule(const ModuleInput& in, AttributeWriter& to) {
  const SeriesDescription& d = in.description;
  AttributeWriter shared(to.SequenceItem(DCM_SharedFunctionalGroupsSequence));  // 1
  AddPixelMeasures(in, shared);
  AddPlaneOrientation(in, shared);
  AddFrameAnatomy(in, shared);
  AddPixelValueTransformation(shared);
  AddFrameVoiLut(in, shared);
  AddIrradiationEvent(in, shared);
  AddCtImageFrameType(shared);
  to.Merge(shared);
  for (int64_t i = 0; i < d.geometry.size[2]; ++i) AddFrame(in, i, to);
  const Attributes& given = d.attributes;
  to.Text(DCM_ContentDate, given.study_date.empty() ? kPlaceholderDate : given.study_date);  // 1
  to.Text(DCM_ContentTime, given.study_time.empty() ? kPlaceholderTime : given.study_time);  // 1
  to.Text(DCM_NumberOfFrames, absl::StrCat(d.geometry.size[2]));                             // 1
}

// PS3.3 C.7.6.17: stack, then position in the stack.
void AddMultiFrameDimensionModule(const ModuleInput& in, AttributeWriter& to) {
  AttributeWriter organization(to.SequenceItem(DCM_DimensionOrganizationSequence));   // 1
  organization.Text(DCM_DimensionOrganizationUID, in.uids.dimension_organization());  // 1
  to.Merge(organization);
  to.Text(DCM_DimensionOrganizationType, "3D");  // 3
  AddDimension(in, DCM_StackID, "Stack ID", to);
  AddDimension(in, DCM_InStackPositionNumber, "In-Stack Position Number", to);
}

// PS3.3 C.7.6.14.
void AddAcquisitionContextModule(const ModuleInput&, AttributeWriter& to) {
  to.Empty(DCM_AcquisitionContextSequence);  // 2: nothing was acquired
}

// PS3.3 C.8.15.2; what it shares with Image Pixel stands there.
void AddEnhancedCtImageModule(const ModuleInput& in, AttributeWriter& to) {
  to.Text(DCM_ImageType, kFrameType);  // 1
  AddCommonImageDescription(to);
  to.Text(DCM_AcquisitionNumber, "1");                                 // 3
  to.Text(DCM_ContentQualification, "RESEARCH");                       // 1
  to.Text(DCM_ImageComments, "Synthetic image, not for diagnosis");    // 3
  to.Text(DCM_DerivationDescription, ProvenanceText(in.description));  // 3, General Image
  to.Text(DCM_BurnedInAnnotation, "NO");                               // 1
  to.Text(DCM_RecognizableVisualFeatures, "NO");                       // 3
  to.Text(DCM_LossyImageCompression, "00");                            // 1
  to.Text(DCM_PresentationLUTShape, "IDENTITY");                       // 1
}

}  // namespace synthvol::imaging::dicom
