#include "model/train/training_data.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/atomic_file.h"
#include "model/train/augmentation.h"
#include "model/train/random_stream.h"

namespace synthvol::model {
namespace {

using imaging::DatasetItem;

// Reads lines "file,class"; a first line without a number is a header.
absl::StatusOr<std::map<std::string, int64_t>> ReadLabels(const std::string& path) {
  auto text = ReadFile(path, 256 << 20);
  if (!text.ok()) return text.status();
  std::map<std::string, int64_t> labels;
  int64_t line_number = 0;
  for (const absl::string_view raw : absl::StrSplit(*text, '\n')) {
    ++line_number;
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty()) continue;
    const std::vector<std::string> fields = absl::StrSplit(line, ',');
    int64_t label = 0;
    if (fields.size() != 2 || !absl::SimpleAtoi(fields[1], &label)) {
      if (line_number == 1 && fields.size() == 2) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", line_number, ": expected file,class"));
    }
    labels[fields[0]] = label;
  }
  return labels;
}

// Finds an item's class in the CSV, by the prepared file's name or the source's.
std::optional<int64_t> FindLabel(const std::map<std::string, int64_t>& labels,
                                 const DatasetItem& item) {
  const auto base = [](const std::string& path) { return path.substr(path.rfind('/') + 1); };
  for (const std::string& key : {item.file, base(item.file), item.source, base(item.source)}) {
    const auto found = labels.find(key);
    if (found != labels.end()) return found->second;
  }
  return std::nullopt;
}

absl::StatusOr<int64_t> LabelOf(const TrainConfig& config, const DatasetItem& item,
                                const std::map<std::string, int64_t>& labels) {
  const std::string where =
      config.labels.empty() ? imaging::ManifestPath(config.data) : config.labels;
  const std::optional<int64_t> label = config.labels.empty() ? item.label : FindLabel(labels, item);
  if (!label) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": no class for ", item.file, " (", item.source, "), but --num-classes is ",
        config.model.num_classes, "; expected one for every training volume"));
  }
  if (*label < 0 || *label >= config.model.num_classes) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": class ", *label, " of ", item.file,
                                                   " is out of range; expected 0 to ",
                                                   config.model.num_classes - 1));
  }
  return *label;
}

}  // namespace

absl::StatusOr<TrainingData> TrainingData::Open(const TrainConfig& config, int64_t world_size) {
  auto manifest = imaging::ReadManifest(config.data);
  if (!manifest.ok()) return manifest.status();
  auto digest = imaging::ManifestDigest(config.data);
  if (!digest.ok()) return digest.status();
  TrainingData data;
  data.manifest_ = *std::move(manifest);
  data.digest_ = *std::move(digest);
  data.size_ = config.model.size;
  if (data.manifest_.size != config.model.size) {
    return absl::InvalidArgumentError(
        absl::StrCat(imaging::ManifestPath(config.data), ": volumes of ", data.manifest_.size,
                     " voxels a side, but --size is ", config.model.size));
  }
  std::map<std::string, int64_t> labels;
  if (!config.labels.empty()) {
    auto read = ReadLabels(config.labels);
    if (!read.ok()) return read.status();
    labels = *std::move(read);
  }
  for (const DatasetItem& item : data.manifest_.items) {
    if (item.split != imaging::Split::kTrain) continue;
    if (config.model.num_classes > 0) {
      auto label = LabelOf(config, item, labels);
      if (!label.ok()) return label.status();
      data.labels_.push_back(*label);
    }
    auto volume =
        imaging::MappedVolume::Open(absl::StrCat(config.data, "/", item.file), data.size_);
    if (!volume.ok()) return volume.status();
    data.volumes_.push_back(*std::move(volume));
  }
  const int64_t needed = config.batch_size * world_size;
  if (data.count() < needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        imaging::ManifestPath(config.data), ": ", data.count(), " training volumes, but a batch ",
        "of ", world_size, " process(es) takes ", needed, "; lower --batch-size or add scans"));
  }
  return data;
}

int64_t TrainingData::VolumeAt(const SamplePosition& position) const {
  const auto count = static_cast<uint64_t>(volumes_.size());
  const uint64_t epoch = position.index / count;
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  // Fisher-Yates from this epoch's stream.
  for (uint64_t i = count - 1; i > 0; --i) {
    const uint64_t bits = RandomBits(position.seed, Purpose::kOrder, epoch * count + i);
    std::swap(order[i], order[RandomBelow(bits, i + 1)]);
  }
  return order[position.index % count];
}

int64_t TrainingData::Label(int64_t volume) const {
  return labels_.empty() ? -1 : labels_[static_cast<size_t>(volume)];
}

void TrainingData::Read(int64_t volume, const SamplePosition& position,
                        const Augmentation& augmentation, int64_t slices_a_thread,
                        absl::Span<float> out) const {
  const absl::Span<const int16_t> in = volumes_[static_cast<size_t>(volume)].voxels();
  const DrawnAugmentation drawn = DrawAugmentation(augmentation, position.seed, position.index);
  at::parallel_for(0, size_, slices_a_thread, [&](int64_t first, int64_t last) {
    AugmentSlices(in, size_, drawn, first, last, out.data() + first * size_ * size_);
  });
}

void DescribeData(const imaging::DatasetManifest& manifest, ModelConfig& config) {
  config.modality = manifest.modality;
  config.window = manifest.window;
  if (static_cast<int64_t>(manifest.class_names.size()) == config.num_classes) {
    config.class_names = manifest.class_names;
  }
  std::array<double, 3> sum{};
  double count = 0;
  for (const DatasetItem& item : manifest.items) {
    if (item.split != imaging::Split::kTrain) continue;
    for (size_t axis = 0; axis < 3; ++axis) sum[axis] += item.spacing[axis];
    count += 1;
  }
  for (size_t axis = 0; axis < 3 && count > 0; ++axis) config.spacing[axis] = sum[axis] / count;
}

}  // namespace synthvol::model
