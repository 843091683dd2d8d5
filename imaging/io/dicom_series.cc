#include "imaging/io/dicom_series.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "imaging/io/image_file.h"
#include "imaging/io/orientation.h"

namespace synthvol::imaging {
namespace {

using Vector = std::array<double, 3>;

// Places closer than this are one place.
constexpr double kSamePlaceMm = 0.01;
// Steps may differ from the usual one by this share: positions are rounded to 0.1 mm in the wild.
constexpr double kStepTolerance = 0.15;
constexpr double kOrientationTolerance = 1e-3;

absl::Status Bad(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

Vector RowOf(const DicomHeader& h) {
  return {(*h.orientation)[0], (*h.orientation)[1], (*h.orientation)[2]};
}
Vector ColumnOf(const DicomHeader& h) {
  return {(*h.orientation)[3], (*h.orientation)[4], (*h.orientation)[5]};
}
Vector Cross(const Vector& a, const Vector& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}
double Dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

std::string BaseName(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

// Keeps images that can be part of a volume.
absl::StatusOr<std::vector<DicomHeader>> KeepImages(std::vector<DicomHeader> headers,
                                                    const std::string& where) {
  std::erase_if(headers, [](const DicomHeader& h) { return h.rows == 0 || h.columns == 0; });
  if (headers.empty()) return Bad(where, "no images in this series");
  std::erase_if(headers, [](const DicomHeader& h) { return h.IsLocalizer(); });
  if (headers.empty()) return Bad(where, "only localizer images in this series");
  for (const DicomHeader& h : headers) {
    if (h.frames > 1) {
      return Bad(h.file, absl::StrCat(h.frames, " frames in one file; expected one slice a file"));
    }
    if (!h.position || !h.orientation || !h.pixel_spacing) {
      return Bad(h.file,
                 "no Image Position, Image Orientation or Pixel Spacing; expected a slice with "
                 "its place in the patient");
    }
    if ((*h.pixel_spacing)[0] <= 0.0 || (*h.pixel_spacing)[1] <= 0.0) {
      return Bad(h.file, "Pixel Spacing must be positive");
    }
  }
  return headers;
}

absl::Status CheckAlike(const std::vector<DicomHeader>& slices) {
  const DicomHeader& first = slices.front();
  for (const DicomHeader& h : slices) {
    if (h.rows != first.rows || h.columns != first.columns) {
      return Bad(h.file,
                 absl::StrCat(h.columns, "x", h.rows, " pixels where ", BaseName(first.file),
                              " of the same series has ", first.columns, "x", first.rows));
    }
    for (size_t i = 0; i < 6; ++i) {
      if (std::abs((*h.orientation)[i] - (*first.orientation)[i]) > kOrientationTolerance) {
        return Bad(h.file, absl::StrCat("Image Orientation differs from that of ",
                                        BaseName(first.file), " in the same series"));
      }
    }
    for (size_t i = 0; i < 2; ++i) {
      if (std::abs((*h.pixel_spacing)[i] - (*first.pixel_spacing)[i]) > 1e-4) {
        return Bad(h.file, absl::StrCat("Pixel Spacing differs from that of ", BaseName(first.file),
                                        " in the same series"));
      }
    }
  }
  return absl::OkStatus();
}

// Tells whether two files at one place hold the same image.
absl::StatusOr<bool> AreDuplicates(const DicomHeader& a, const DicomHeader& b) {
  if (!a.sop_uid.empty() && a.sop_uid == b.sop_uid) return true;
  absl::StatusOr<std::vector<float>> left = ReadDicomSlice(a.file, a.columns, a.rows);
  if (!left.ok()) return left.status();
  absl::StatusOr<std::vector<float>> right = ReadDicomSlice(b.file, b.columns, b.rows);
  if (!right.ok()) return right.status();
  return *left == *right;
}

// Sorts along the normal and drops duplicates.
absl::StatusOr<std::vector<DicomHeader>> SortAndDrop(std::vector<DicomHeader> slices,
                                                     const Vector& normal) {
  const auto place = [&](const DicomHeader& h) { return Dot(*h.position, normal); };
  std::sort(slices.begin(), slices.end(), [&](const DicomHeader& a, const DicomHeader& b) {
    return std::make_pair(place(a), a.file) < std::make_pair(place(b), b.file);
  });
  std::vector<DicomHeader> kept;
  for (DicomHeader& h : slices) {
    if (!kept.empty() && place(h) - place(kept.back()) < kSamePlaceMm) {
      absl::StatusOr<bool> same = AreDuplicates(kept.back(), h);
      if (!same.ok()) return same.status();
      if (*same) continue;
      return Bad(h.file, absl::StrFormat("lies at the same place (%.2f mm) as %s with different "
                                         "pixels; expected one image a place (two acquisitions in "
                                         "one series?)",
                                         place(h), BaseName(kept.back().file)));
    }
    kept.push_back(std::move(h));
  }
  return kept;
}

// Returns the usual step, after checking that every step is like it.
absl::StatusOr<double> CheckSteps(const std::vector<DicomHeader>& slices, const Vector& normal,
                                  const std::string& where) {
  const auto place = [&](size_t i) { return Dot(*slices[i].position, normal); };
  std::vector<double> steps;
  for (size_t i = 1; i < slices.size(); ++i) steps.push_back(place(i) - place(i - 1));
  const auto middle = steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2);
  std::vector<double> sorted(steps);
  std::nth_element(sorted.begin(), sorted.begin() + (middle - steps.begin()), sorted.end());
  const double usual = sorted[steps.size() / 2];
  for (size_t i = 0; i < steps.size(); ++i) {
    if (std::abs(steps[i] - usual) <= kStepTolerance * usual) continue;
    const std::string between =
        absl::StrCat("between ", BaseName(slices[i].file), " and ", BaseName(slices[i + 1].file));
    const auto missing = std::lround(steps[i] / usual) - 1;
    if (missing >= 1) {
      return Bad(where, absl::StrFormat("missing slices: %.2f mm %s (at %.2f mm) where %.2f mm is "
                                        "usual, about %d missing",
                                        steps[i], between, place(i), usual, missing));
    }
    return Bad(where, absl::StrFormat("unevenly spaced slices: %.2f mm %s (at %.2f mm) where %.2f "
                                      "mm is usual",
                                      steps[i], between, place(i), usual));
  }
  return (place(slices.size() - 1) - place(0)) / static_cast<double>(slices.size() - 1);
}

// The way from slice to slice must be the normal, or the stack leans.
absl::Status CheckTilt(const std::vector<DicomHeader>& slices, const Vector& normal,
                       const std::string& where) {
  Vector way{};
  for (size_t i = 0; i < 3; ++i) {
    way[i] = (*slices.back().position)[i] - (*slices.front().position)[i];
  }
  const double cosine = std::clamp(Dot(way, normal) / std::sqrt(Dot(way, way)), -1.0, 1.0);
  const double degrees = std::acos(cosine) * 180.0 / std::numbers::pi;
  if (degrees <= kMaxTiltDegrees) return absl::OkStatus();
  return Bad(where,
             absl::StrFormat("gantry tilt: slices are stacked %.1f degrees off their normal; "
                             "expected at most %.1f",
                             degrees, kMaxTiltDegrees));
}

}  // namespace

absl::StatusOr<DicomStack> StackSlices(std::vector<DicomHeader> headers, const std::string& where) {
  absl::StatusOr<std::vector<DicomHeader>> slices = KeepImages(std::move(headers), where);
  if (!slices.ok()) return slices.status();
  if (absl::Status status = CheckAlike(*slices); !status.ok()) return status;
  const Vector row = RowOf(slices->front());
  const Vector column = ColumnOf(slices->front());
  const Vector normal = Cross(row, column);
  if (std::abs(Dot(normal, normal) - 1.0) > 1e-2 || std::abs(Dot(row, column)) > 1e-2) {
    return Bad(slices->front().file, "Image Orientation is no pair of orthogonal unit vectors");
  }
  slices = SortAndDrop(*std::move(slices), normal);
  if (!slices.ok()) return slices.status();
  if (slices->size() == 1) {
    return Bad(slices->front().file, "a single slice; expected a 3D volume");
  }
  absl::StatusOr<double> step = CheckSteps(*slices, normal, where);
  if (!step.ok()) return step.status();
  if (absl::Status status = CheckTilt(*slices, normal, where); !status.ok()) return status;

  DicomStack stack;
  const DicomHeader& first = slices->front();
  const auto count = static_cast<int64_t>(slices->size());
  if (first.columns * first.rows > kMaxVoxels / count) {
    return Bad(where, absl::StrCat("too large; expected at most ", kMaxVoxels, " voxels"));
  }
  stack.geometry.size = {first.columns, first.rows, count};
  stack.geometry.spacing = {(*first.pixel_spacing)[1], (*first.pixel_spacing)[0], *step};
  stack.geometry.origin = *first.position;
  for (size_t i = 0; i < 3; ++i) {
    stack.geometry.direction[i * 3] = row[i];
    stack.geometry.direction[i * 3 + 1] = column[i];
    stack.geometry.direction[i * 3 + 2] = normal[i];
  }
  stack.slices = *std::move(slices);
  return stack;
}

absl::StatusOr<FloatVolume> ReadDicomStack(const DicomStack& stack) {
  FloatVolume volume{stack.geometry, {}};
  volume.voxels.reserve(static_cast<size_t>(stack.geometry.VoxelCount()));
  for (const DicomHeader& slice : stack.slices) {
    absl::StatusOr<std::vector<float>> pixels =
        ReadDicomSlice(slice.file, slice.columns, slice.rows);
    if (!pixels.ok()) {
      return absl::Status(pixels.status().code(),
                          absl::StrCat(pixels.status().message(), "; transfer syntax ",
                                       TransferSyntaxName(slice.transfer_syntax_uid)));
    }
    volume.voxels.insert(volume.voxels.end(), pixels->begin(), pixels->end());
  }
  return volume;
}

}  // namespace synthvol::imaging
