#include "model/eval/sample.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "base/progress_bar.h"
#include "imaging/npy.h"
#include "model/checkpoint/strict_json.h"
#include "model/eval/statistics/ms_ssim.h"
#include "model/eval/statistics/resampling.h"

namespace synthvol::model {
namespace {

void AppendRow(FeatureSet& set, absl::Span<const float> row) {
  set.dims = static_cast<int64_t>(row.size());
  set.values.insert(set.values.end(), row.begin(), row.end());
}

// Returns the largest divisor of `size` up to kVoxelSpaceSize.
int64_t VoxelSpaceSize(int64_t size) {
  int64_t side = std::min(size, kVoxelSpaceSize);
  while (size % side != 0) --side;
  return side;
}

void AddToHistogram(absl::Span<const float> unit, std::vector<double>& histogram) {
  for (const float value : unit) {
    const double position = (static_cast<double>(value) + 1) / 2 * kHistogramBins;
    const auto bin = static_cast<int64_t>(std::clamp(position, 0.0, kHistogramBins - 1.0));
    histogram[static_cast<size_t>(bin)] += 1;
  }
}

VolumeFigures FiguresOf(const VolumeSet& set, absl::Span<const float> unit) {
  PlausibilityMeter meter(set.size(), set.window(), DefaultRegions(set.modality(), set.window()));
  std::vector<int16_t> stored;
  stored.reserve(unit.size());
  for (const float value : unit) stored.push_back(set.window().ToStored(value));
  meter.Append(stored);
  return meter.Finish();
}

absl::Status MeasureVolume(const VolumeSet& set, absl::Span<const float> unit,
                           const MeasureOptions& options, Sample& sample) {
  if (options.network != nullptr) {
    const auto features = options.network->Features(unit, set.size());
    if (!features.ok()) return features.status();
    AppendRow(sample.features, *features);
  }
  if (options.voxels) {
    AppendRow(sample.voxels, AverageDown(unit, set.size(), VoxelSpaceSize(set.size())));
  }
  if (options.figures) sample.figures.push_back(FiguresOf(set, unit));
  if (static_cast<int64_t>(sample.pictures.size()) < options.pictures) {
    sample.pictures.push_back(Picture(set, unit, options.picture_spacing));
  }
  AddToHistogram(unit, sample.histogram);
  return absl::OkStatus();
}

std::string SidecarPath(const std::string& path) { return path + ".json"; }

// Returns the pair of different indices that `number` counts: 0 -> (1, 0), 1 -> (2, 0), 2 -> (2,
// 1).
std::pair<int64_t, int64_t> PairOf(int64_t number) {
  auto first = static_cast<int64_t>((1 + std::sqrt(1 + 8.0 * static_cast<double>(number))) / 2);
  while (first * (first - 1) / 2 > number) --first;
  while (first * (first + 1) / 2 <= number) ++first;
  return {first, number - first * (first - 1) / 2};
}

}  // namespace

imaging::MidPlanes Picture(const VolumeSet& set, absl::Span<const float> unit,
                           const std::array<double, 3>& spacing) {
  imaging::MidPlanes planes(imaging::CentredCube(set.size(), spacing));
  std::vector<float> stored;
  stored.reserve(unit.size());
  for (const float value : unit) stored.push_back(set.window().ToStored(value));
  planes.Append(stored);
  return planes;
}

absl::StatusOr<Sample> Measure(VolumeSet& set, const MeasureOptions& options,
                               const std::string& label) {
  Sample sample;
  sample.description = set.Describe();
  sample.histogram.resize(kHistogramBins);
  if (options.network != nullptr) sample.extractor = options.network->name();
  ProgressBar progress(label, "volumes", set.count());
  for (int64_t i = 0; i < set.count(); ++i) {
    const auto unit = set.Load(i);
    if (!unit.ok()) return unit.status();
    if (auto status = MeasureVolume(set, *unit, options, sample); !status.ok()) return status;
    sample.names.push_back(set.NameOf(i));
    progress.Advance();
  }
  const double voxels =
      static_cast<double>(set.count()) * std::pow(static_cast<double>(set.size()), 3);
  for (double& share : sample.histogram) share /= std::max(1.0, voxels);
  return sample;
}

absl::StatusOr<Sample> ReadFeatures(const std::string& path) {
  std::vector<int64_t> shape;
  const auto values = imaging::ReadNpyFloat32(path, &shape);
  if (!values.ok()) return values.status();
  if (shape.size() != 2 || shape[1] < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected features, a float32 .npy of shape [volumes, values]"));
  }
  Sample sample;
  sample.features.dims = shape[1];
  sample.features.values.assign(values->begin(), values->end());
  for (int64_t i = 0; i < shape[0]; ++i) sample.names.push_back(absl::StrCat("row ", i));
  sample.description = absl::StrCat("features ", path, ", ", shape[0], " volumes");
  sample.extractor = "unknown (features from a file without .json beside it)";
  if (!std::filesystem::exists(SidecarPath(path))) return sample;
  const auto text = ReadFile(SidecarPath(path));
  if (!text.ok()) return text.status();
  const auto json = ParseStrictJson(*text, SidecarPath(path));
  if (!json.ok()) return json.status();
  for (const auto& [key, field] :
       {std::pair{"extractor", &sample.extractor}, {"description", &sample.description}}) {
    if (!json->contains(key) || !json->at(key).is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(SidecarPath(path), ": ", key, ": expected a text"));
    }
    *field = json->at(key).get<std::string>();
  }
  return sample;
}

absl::Status WriteFeatures(const std::string& path, const Sample& sample) {
  const std::vector<int64_t> shape = {sample.features.count(), sample.features.dims};
  auto writer = imaging::NpyWriter::Create(path, imaging::VoxelType::kFloat32, shape);
  if (!writer.ok()) return writer.status();
  const std::vector<float> values(sample.features.values.begin(), sample.features.values.end());
  if (auto status = writer->Append(values); !status.ok()) return status;
  if (auto status = writer->Commit(); !status.ok()) return status;
  const nlohmann::json sidecar = {{"extractor", sample.extractor},
                                  {"description", sample.description},
                                  {"names", sample.names}};
  return WriteFileAtomically(SidecarPath(path), sidecar.dump(2) + "\n");
}

absl::StatusOr<Diversity> MeasureDiversity(VolumeSet& set, int64_t pairs, uint64_t seed,
                                           const std::string& label) {
  const int64_t possible = set.count() * (set.count() - 1) / 2;
  if (possible < 1 || pairs < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "diversity needs at least 2 volumes and 1 pair, found ", set.count(), " and ", pairs));
  }
  std::vector<int64_t> numbers = Resampler(seed).Permutation(possible);
  numbers.resize(static_cast<size_t>(std::min(pairs, possible)));
  // In order, so that one volume of a pair is mostly the one just loaded.
  std::sort(numbers.begin(), numbers.end());

  Diversity diversity;
  diversity.scales = MsSsimScales(set.size());
  ProgressBar progress(label, "pairs", numbers.size());
  int64_t held = -1;
  std::vector<float> volume;
  double sum = 0;
  double squares = 0;
  for (const int64_t number : numbers) {
    const auto [first, second] = PairOf(number);
    if (first != held) {
      auto loaded = set.Load(first);
      if (!loaded.ok()) return loaded.status();
      volume = *std::move(loaded);
      held = first;
    }
    const auto other = set.Load(second);
    if (!other.ok()) return other.status();
    const auto similarity = MsSsim(volume, *other, set.size());
    if (!similarity.ok()) return similarity.status();
    diversity.pairs.push_back({first, second, *similarity});
    sum += *similarity;
    squares += *similarity * *similarity;
    progress.Advance();
  }
  const auto count = static_cast<double>(numbers.size());
  diversity.mean = sum / count;
  diversity.standard_deviation =
      std::sqrt(std::max(0.0, squares - sum * sum / count) / std::max(1.0, count - 1));
  return diversity;
}

}  // namespace synthvol::model
