#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "imaging/montage.h"
#include "model/checkpoint/strict_json.h"
#include "model/eval/figures.h"
#include "model/eval/report/profile.h"
#include "model/eval/report/report.h"
#include "model/eval/thresholds.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxInputBytes = 64 << 20;
constexpr int64_t kPictures = 6;
constexpr int kTile = 128;
constexpr size_t kClosestShown = 3;

// Draws rows of mid-planes and returns the PNG's bytes.
absl::StatusOr<std::string> Montage(const std::vector<imaging::MidPlanes>& rows,
                                    const imaging::Window& window) {
  namespace fs = std::filesystem;
  auto folder = AtomicDirectory::Create((fs::temp_directory_path() / "synthvol-report").string());
  if (!folder.ok()) return folder.status();
  const std::string path = folder->temporary_path() + "/montage.png";
  if (auto status = imaging::WriteMontage(path, rows, window, kTile); !status.ok()) return status;
  return ReadFile(path);
}

absl::StatusOr<std::string> ClosestPairs(const json& memorisation, VolumeSet& generated,
                                         VolumeSet& training) {
  std::vector<imaging::MidPlanes> rows;
  for (const json& pair : memorisation["closest"]) {
    if (rows.size() == 2 * kClosestShown) break;
    const auto left = generated.Load(pair["generated"].get<int64_t>());
    if (!left.ok()) return left.status();
    const auto right = training.Load(pair["training"].get<int64_t>());
    if (!right.ok()) return right.status();
    rows.push_back(Picture(generated, *left, training.spacing()));
    rows.push_back(Picture(training, *right, training.spacing()));
  }
  return Montage(rows, generated.window());
}

// What every generator is compared with.
struct Reference {
  std::unique_ptr<VolumeSet> training;
  std::unique_ptr<VolumeSet> held_out;
  std::unique_ptr<FeatureNetwork> network;
  Sample training_sample;
  Sample held_out_sample;
  Diversity diversity;

  MeasureOptions Everything() const {
    return {network.get(), /*voxels=*/true, /*figures=*/true, kPictures, training->spacing()};
  }
};

absl::StatusOr<Reference> OpenReference(const EvaluatorOptions& options) {
  Reference reference;
  auto training = OpenReal(options, "train");
  if (!training.ok()) return training.status();
  reference.training = *std::move(training);
  auto held_out = OpenHeldOut(options);
  if (!held_out.ok()) return held_out.status();
  reference.held_out = *std::move(held_out);
  auto network = OpenNetwork(options);
  if (!network.ok()) return network.status();
  reference.network = *std::move(network);

  auto sample = Measure(*reference.training, reference.Everything(), "training");
  if (!sample.ok()) return sample.status();
  reference.training_sample = *std::move(sample);
  if (reference.held_out != nullptr) {
    auto unseen = Measure(*reference.held_out, reference.Everything(), "held out");
    if (!unseen.ok()) return unseen.status();
    reference.held_out_sample = *std::move(unseen);
  }
  auto diversity = MeasureDiversity(*reference.training, options.pairs, options.resampling.seed,
                                    "training pairs");
  if (!diversity.ok()) return diversity.status();
  reference.diversity = *std::move(diversity);
  return reference;
}

// Adds FID and MMD between two samples.
absl::Status AddDistances(const Sample& real, const Sample& other, const ResamplingOptions& options,
                          json& figures) {
  auto fid = FidFigures(real, other, options);
  if (!fid.ok()) return fid.status();
  auto mmd = MmdFigures(real, other, options);
  if (!mmd.ok()) return mmd.status();
  figures["fid"] = *std::move(fid);
  figures["mmd"] = *std::move(mmd);
  return absl::OkStatus();
}

// Evaluates one generator and appends it to `data`.
absl::Status AddModel(const EvaluatorOptions& options, const std::string& label,
                      Reference& reference, ReportData& data) {
  const auto set = OpenSynthetic(options);
  if (!set.ok()) return set.status();
  if (auto status = CheckComparable(*reference.training, **set); !status.ok()) return status;
  const auto ranges = FindRanges(options, **set);
  if (!ranges.ok()) return ranges.status();
  const auto sample = Measure(**set, reference.Everything(), label);
  if (!sample.ok()) return sample.status();
  json model = {{"label", label}, {"sample", sample->description}};
  if (const std::string digest = (*set)->checkpoint_digest(); !digest.empty()) {
    model["checkpoint_digest"] = digest;
  }
  const Sample& real = reference.training_sample;
  if (auto status = AddDistances(real, *sample, options.resampling, model); !status.ok()) {
    return status;
  }
  const auto diversity =
      MeasureDiversity(**set, options.pairs, options.resampling.seed, label + " pairs");
  if (!diversity.ok()) return diversity.status();
  model["diversity"] = DiversityFigures(*diversity, reference.diversity);
  auto copies = MemorisationFigures(*sample, real, reference.held_out_sample);
  if (!copies.ok()) return copies.status();
  model["memorisation"] = *std::move(copies);
  model["plausibility"] = PlausibilityFigures(*sample, *ranges);
  model["figures"] = sample->figures;

  auto montage = Montage(sample->pictures, (*set)->window());
  if (!montage.ok()) return montage.status();
  auto closest = ClosestPairs(model["memorisation"], **set, *reference.training);
  if (!closest.ok()) return closest.status();
  data.models.push_back(std::move(model));
  data.labels.push_back(label);
  data.histograms.push_back(sample->histogram);
  data.montages.push_back(*std::move(montage));
  data.closest.push_back(*std::move(closest));
  return absl::OkStatus();
}

absl::Status ReadStudyAndProfile(const ReportOptions& options, ReportData& data) {
  if (!options.study.empty()) {
    const auto text = ReadFile(options.study, kMaxInputBytes);
    if (!text.ok()) return text.status();
    auto study = ParseStrictJson(*text, options.study);
    if (!study.ok()) return study.status();
    data.study = *std::move(study);
  }
  if (options.profile.empty()) return absl::OkStatus();
  const auto text = ReadFile(options.profile, kMaxInputBytes);
  if (!text.ok()) return text.status();
  auto profile = ParseProfile(*text, options.profile);
  if (!profile.ok()) return profile.status();
  data.profile = *std::move(profile);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Limit>> ReadLimits(const std::string& path) {
  if (path.empty()) return std::vector<Limit>();
  const auto text = ReadFile(path, 1 << 20);
  if (!text.ok()) return text.status();
  return ParseThresholds(*text, path);
}

}  // namespace

absl::StatusOr<ReportData> EvaluateModels(const ReportOptions& options) {
  // Read what may be wrong before hours of rendering.
  ReportData data;
  if (auto status = ReadStudyAndProfile(options, data); !status.ok()) return status;
  const auto limits = ReadLimits(options.evaluator.gate);
  if (!limits.ok()) return limits.status();
  auto reference = OpenReference(options.evaluator);
  if (!reference.ok()) return reference.status();
  data.provenance = Provenance(options.evaluator);
  data.provenance["real_sample"] = reference->training_sample.description;
  data.provenance["extractor"] = reference->network->name();
  data.window_low = reference->training->window().low;
  data.window_high = reference->training->window().high;
  data.labels.push_back("real (training)");
  data.histograms.push_back(reference->training_sample.histogram);
  auto montage = Montage(reference->training_sample.pictures, reference->training->window());
  if (!montage.ok()) return montage.status();
  data.montages.push_back(*std::move(montage));
  if (reference->held_out_sample.count() >= 2) {
    data.baseline = json::object();
    if (auto status = AddDistances(reference->training_sample, reference->held_out_sample,
                                   options.evaluator.resampling, data.baseline);
        !status.ok()) {
      return status;
    }
  }
  if (auto status = AddModel(options.evaluator, options.label, *reference, data); !status.ok()) {
    return status;
  }
  if (!options.other.empty()) {
    EvaluatorOptions other = options.evaluator;
    other.synthetic = options.other;
    if (auto status = AddModel(other, options.other_label, *reference, data); !status.ok()) {
      return status;
    }
  }
  for (json& model : data.models) {
    model["gate"] = limits->empty() ? json() : CheckThresholds(model, *limits);
  }
  return data;
}

bool AnyGateFailed(const ReportData& data) {
  return std::any_of(data.models.begin(), data.models.end(), [](const json& model) {
    return model["gate"].is_object() && !model["gate"]["passed"].get<bool>();
  });
}

json ToJson(const ReportData& data) {
  json report = data.models.front();
  report["provenance"] = data.provenance;
  report["baseline"] = data.baseline;
  report["study"] = data.study;
  report["profile"] = data.profile;
  report["others"] = std::vector<json>(data.models.begin() + 1, data.models.end());
  return report;
}

}  // namespace synthvol::model
