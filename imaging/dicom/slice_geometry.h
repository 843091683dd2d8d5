// A grid's place in the patient as DICOM's image plane says it (PS3.3 C.7.6.2.1.1), and the window
// a viewer opens with. Private to imaging/dicom.
//
// Free functions, pure.
#ifndef SYNTHVOL_IMAGING_DICOM_SLICE_GEOMETRY_H_
#define SYNTHVOL_IMAGING_DICOM_SLICE_GEOMETRY_H_

#include <array>
#include <cstdint>

#include "imaging/dicom/attribute_writer.h"
#include "imaging/dicom/series_description.h"

namespace synthvol::imaging::dicom {

// Returns Pixel Spacing: millimetres between rows, then between columns.
std::array<double, 2> PixelSpacing(const Geometry& geometry);
// Returns Image Orientation (Patient): direction of a row, then of a column.
std::array<double, 6> ImageOrientation(const Geometry& geometry);
// Returns Image Position (Patient): LPS millimetres of the first voxel of slice `index`.
std::array<double, 3> ImagePosition(const Geometry& geometry, int64_t index);
// Returns Slice Location: millimetres of slice `index` along the volume's third axis.
double SliceLocation(const Geometry& geometry, int64_t index);

// Writes Window Center and Width (PS3.3 C.11.2.1.2): soft tissue and lung for CT, the model's
// window for MR.
void AddDisplayWindow(const SeriesDescription& description, AttributeWriter& to);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_SLICE_GEOMETRY_H_
