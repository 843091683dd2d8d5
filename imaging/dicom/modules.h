// The modules of our information objects (PS3.3), one function each, with the attribute's type
// beside each line. Private to imaging/dicom.
//
// Free functions: they write into the dataset that `to` stands for and keep failures there.
#ifndef SYNTHVOL_IMAGING_DICOM_MODULES_H_
#define SYNTHVOL_IMAGING_DICOM_MODULES_H_

#include <cstdint>

#include "imaging/dicom/attribute_writer.h"
#include "imaging/dicom/series_description.h"
#include "imaging/dicom/uid.h"

namespace synthvol::imaging::dicom {

// What every module function gets.
struct ModuleInput {
  const SeriesDescription& description;
  const SeriesUids& uids;
};

// Shared by all information objects.
void AddPatientModule(const ModuleInput& in, AttributeWriter& to);
void AddGeneralStudyModule(const ModuleInput& in, AttributeWriter& to);
void AddGeneralSeriesModule(const ModuleInput& in, AttributeWriter& to);
void AddFrameOfReferenceModule(const ModuleInput& in, AttributeWriter& to);
void AddGeneralEquipmentModule(const ModuleInput& in, AttributeWriter& to);
void AddImagePixelModule(const ModuleInput& in, AttributeWriter& to);
void AddSopCommonModule(const ModuleInput& in, AttributeWriter& to);

// CT and MR Image: one slice an instance. Attributes that differ from slice to slice (VaryingTags)
// get the values of slice 0.
void AddGeneralImageModule(const ModuleInput& in, AttributeWriter& to);
void AddImagePlaneModule(const ModuleInput& in, AttributeWriter& to);
void AddCtImageModule(const ModuleInput& in, AttributeWriter& to);
void AddMrImageModule(const ModuleInput& in, AttributeWriter& to);
void AddVoiLutModule(const ModuleInput& in, AttributeWriter& to);

// Enhanced CT Image: all slices as frames of one instance.
void AddMultiFrameFunctionalGroupsModule(const ModuleInput& in, AttributeWriter& to);
void AddMultiFrameDimensionModule(const ModuleInput& in, AttributeWriter& to);
void AddAcquisitionContextModule(const ModuleInput& in, AttributeWriter& to);
void AddEnhancedCtImageModule(const ModuleInput& in, AttributeWriter& to);

// Writes every module of the information object that the description asks for, without Pixel Data.
absl::Status AddAllModules(const ModuleInput& in, DcmItem& dataset);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_MODULES_H_
