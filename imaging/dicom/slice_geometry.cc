#include "imaging/dicom/slice_geometry.h"

namespace synthvol::imaging::dicom {

std::array<double, 2> PixelSpacing(const Geometry& geometry) {
  return {geometry.spacing[1], geometry.spacing[0]};
}

std::array<double, 6> ImageOrientation(const Geometry& geometry) {
  const auto& d = geometry.direction;
  return {d[0], d[3], d[6], d[1], d[4], d[7]};
}

std::array<double, 3> ImagePosition(const Geometry& geometry, int64_t index) {
  return geometry.Position(0, 0, static_cast<double>(index));
}

double SliceLocation(const Geometry& geometry, int64_t index) {
  const std::array<double, 3> position = ImagePosition(geometry, index);
  const auto& d = geometry.direction;
  return position[0] * d[2] + position[1] * d[5] + position[2] * d[8];
}

void AddDisplayWindow(const SeriesDescription& description, AttributeWriter& to) {
  if (description.modality == Modality::kCt) {
    to.Text(DCM_WindowCenter, "40\\-600");                           // 1C
    to.Text(DCM_WindowWidth, "400\\1500");                           // 1C
    to.Text(DCM_WindowCenterWidthExplanation, "SOFT_TISSUE\\LUNG");  // 3
    return;
  }
  const Window& window = description.window;
  to.Decimals(DCM_WindowCenter, {(window.low + window.high) / 2});  // 1C
  to.Decimals(DCM_WindowWidth, {window.high - window.low});         // 1C
}

}  // namespace synthvol::imaging::dicom
