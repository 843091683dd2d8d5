#include "imaging/nifti.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace synthvol::imaging {
namespace {

// nifti_1_header of nifti1.h, whose names these are.
struct Nifti1Header {
  int32_t sizeof_hdr = 348;
  char unused1[35] = {};
  char dim_info = 0;
  int16_t dim[8] = {};
  float intent_p[3] = {};
  int16_t intent_code = 0;
  int16_t datatype = 0;
  int16_t bitpix = 0;
  int16_t slice_start = 0;
  float pixdim[8] = {};
  float vox_offset = kNiftiDataOffset;
  float scl_slope = 1.0F;
  float scl_inter = 0.0F;
  int16_t slice_end = 0;
  char slice_code = 0;
  char xyzt_units = 2;  // NIFTI_UNITS_MM
  float cal_max = 0.0F;
  float cal_min = 0.0F;
  float slice_duration = 0.0F;
  float toffset = 0.0F;
  int32_t unused2[2] = {};
  char descrip[80] = {};
  char aux_file[24] = {};
  int16_t qform_code = 1;  // NIFTI_XFORM_SCANNER_ANAT
  int16_t sform_code = 1;
  float quatern[3] = {};
  float qoffset[3] = {};
  float srow[3][4] = {};
  char intent_name[16] = {};
  char magic[4] = {'n', '+', '1', '\0'};
};
static_assert(sizeof(Nifti1Header) == 348);

constexpr int16_t kTypeInt16 = 4;     // NIFTI_TYPE_INT16
constexpr int16_t kTypeFloat32 = 16;  // NIFTI_TYPE_FLOAT32
constexpr int64_t kMaxExtent = 32767;
constexpr double kOrthonormalTolerance = 1e-4;

double Determinant(const std::array<double, 9>& m) {
  return m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) +
         m[2] * (m[3] * m[7] - m[4] * m[6]);
}

bool IsOrthonormal(const std::array<double, 9>& m) {
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const double dot = m[i] * m[j] + m[3 + i] * m[3 + j] + m[6 + i] * m[6 + j];
      if (!(std::abs(dot - (i == j ? 1.0 : 0.0)) < kOrthonormalTolerance)) return false;
    }
  }
  return true;
}

// Changes the sign of the patient's x and y: LPS to RAS.
std::array<double, 9> ToRas(std::array<double, 9> direction) {
  for (size_t i = 0; i < 6; ++i) direction[i] = -direction[i];
  return direction;
}

void FillTransform(const Geometry& geometry, Nifti1Header* header) {
  const std::array<double, 9> ras = ToRas(geometry.direction);
  const std::array<double, 3> offset{-geometry.origin[0], -geometry.origin[1], geometry.origin[2]};
  const NiftiRotation rotation = RotationToQuaternion(ras);
  header->pixdim[0] = static_cast<float>(rotation.qfac);
  for (size_t row = 0; row < 3; ++row) {
    // Adding zero turns -0 into 0, which reads better in other people's tools.
    header->quatern[row] = static_cast<float>(rotation.bcd[row] + 0.0);
    header->qoffset[row] = static_cast<float>(offset[row] + 0.0);
    for (size_t axis = 0; axis < 3; ++axis) {
      header->srow[row][axis] =
          static_cast<float>(ras[row * 3 + axis] * geometry.spacing[axis] + 0.0);
    }
    header->srow[row][3] = header->qoffset[row];
  }
}

}  // namespace

NiftiRotation RotationToQuaternion(std::array<double, 9> r) {
  NiftiRotation rotation;
  if (Determinant(r) < 0) {
    rotation.qfac = -1.0;
    for (const size_t i : {2, 5, 8}) r[i] = -r[i];
  }
  // Shepperd's method: divide by the largest of the four components.
  const double trace = r[0] + r[4] + r[8];
  std::array<double, 4> q{};  // a, b, c, d
  if (trace > 0.0) {
    const double s = 2.0 * std::sqrt(1.0 + trace);
    q = {0.25 * s, (r[7] - r[5]) / s, (r[2] - r[6]) / s, (r[3] - r[1]) / s};
  } else if (r[0] >= r[4] && r[0] >= r[8]) {
    const double s = 2.0 * std::sqrt(1.0 + r[0] - r[4] - r[8]);
    q = {(r[7] - r[5]) / s, 0.25 * s, (r[1] + r[3]) / s, (r[2] + r[6]) / s};
  } else if (r[4] >= r[8]) {
    const double s = 2.0 * std::sqrt(1.0 + r[4] - r[0] - r[8]);
    q = {(r[2] - r[6]) / s, (r[1] + r[3]) / s, 0.25 * s, (r[5] + r[7]) / s};
  } else {
    const double s = 2.0 * std::sqrt(1.0 + r[8] - r[0] - r[4]);
    q = {(r[3] - r[1]) / s, (r[2] + r[6]) / s, (r[5] + r[7]) / s, 0.25 * s};
  }
  const double sign = q[0] < 0.0 ? -1.0 : 1.0;
  rotation.bcd = {sign * q[1], sign * q[2], sign * q[3]};
  return rotation;
}

absl::StatusOr<std::string> FormatNiftiHeader(const Geometry& geometry, VoxelType type) {
  if (*std::max_element(geometry.size.begin(), geometry.size.end()) > kMaxExtent) {
    return absl::InvalidArgumentError(
        absl::StrCat("NIfTI holds at most ", kMaxExtent, " voxels along an axis"));
  }
  if (!IsOrthonormal(geometry.direction)) {
    return absl::InvalidArgumentError("NIfTI needs orthonormal axis directions");
  }
  Nifti1Header header;
  const std::array<int64_t, 8> dim{3, geometry.size[0], geometry.size[1], geometry.size[2], 1, 1, 1,
                                   1};
  std::transform(dim.begin(), dim.end(), header.dim,
                 [](int64_t extent) { return static_cast<int16_t>(extent); });
  for (size_t axis = 0; axis < 3; ++axis) {
    header.pixdim[axis + 1] = static_cast<float>(geometry.spacing[axis]);
  }
  header.datatype = type == VoxelType::kInt16 ? kTypeInt16 : kTypeFloat32;
  header.bitpix = static_cast<int16_t>(8 * SizeOf(type));
  std::strncpy(header.descrip, "synthvol", sizeof(header.descrip) - 1);
  FillTransform(geometry, &header);
  std::string bytes(kNiftiDataOffset, '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

}  // namespace synthvol::imaging
