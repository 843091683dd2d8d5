// The fixed volume and description that the tests of imaging/dicom share. Header only; pure.
#ifndef SYNTHVOL_TESTS_IMAGING_DICOM_SYNTHETIC_VOLUME_H_
#define SYNTHVOL_TESTS_IMAGING_DICOM_SYNTHETIC_VOLUME_H_

#include <cstdint>
#include <string>

#include "imaging/dicom/series_description.h"
#include "imaging/volume.h"

namespace synthvol::imaging::dicom {

// Returns a CT-like volume, 40 x 32 x 24: smooth body, noise, and the extremes of int16, so that a
// lost sign or bit shows. The sizes and spacings differ along all axes, so that a swapped axis
// shows.
inline Volume SyntheticVolume() {
  Volume volume;
  volume.geometry.size = {40, 32, 24};
  volume.geometry.spacing = {0.703125, 0.75, 1.25};
  volume.geometry.origin = {-13.7, -11.625, -14.375};
  volume.voxels.resize(static_cast<size_t>(volume.geometry.VoxelCount()));
  uint64_t state = 42;
  for (int64_t z = 0; z < 24; ++z) {
    for (int64_t y = 0; y < 32; ++y) {
      for (int64_t x = 0; x < 40; ++x) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        const int noise = static_cast<int>(state >> 58);
        const int64_t radius2 = (x - 20) * (x - 20) + (y - 16) * (y - 16);
        const int value = radius2 > 200 ? -1024 : static_cast<int>(40 - radius2 + 3 * z + noise);
        volume.At(x, y, z) = static_cast<int16_t>(value);
      }
    }
  }
  volume.At(0, 0, 0) = -32768;
  volume.At(1, 0, 0) = 32767;
  volume.At(2, 0, 0) = -1;
  return volume;
}

// Returns a description that Validate accepts.
inline SeriesDescription SyntheticDescription() {
  SeriesDescription d;
  d.geometry = SyntheticVolume().geometry;
  d.model_name = "chest-crf-gan";
  d.model_version = 3;
  d.model_digest = std::string(56, 'a') + "01234567";
  d.seed_text = "42";
  d.precision = "fp32";
  d.build = "0.1.0+test";
  d.uid_key = "test request";
  return d;
}

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_TESTS_IMAGING_DICOM_SYNTHETIC_VOLUME_H_
