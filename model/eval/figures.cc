#include "model/eval/figures.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/eval/statistics/frechet.h"
#include "model/eval/statistics/mmd.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

constexpr size_t kClosestPairs = 8;

json ToJson(const Interval& interval, double level) {
  return {{"low", interval.low},   {"high", interval.high},
          {"level", level},        {"standard_error", interval.standard_error},
          {"bias", interval.bias}, {"replicates", interval.replicates}};
}

absl::StatusOr<std::string> CommonExtractor(const Sample& a, const Sample& b) {
  if (a.extractor != b.extractor) {
    return absl::InvalidArgumentError(
        absl::StrCat("features of different extractors cannot be compared: '", a.extractor,
                     "' and '", b.extractor, "'"));
  }
  return a.extractor;
}

json Counts(const Sample& real, const Sample& synthetic, const std::string& extractor) {
  return {{"real_volumes", real.count()},
          {"synthetic_volumes", synthetic.count()},
          {"dims", real.features.dims},
          {"extractor", extractor}};
}

json ToJson(const CopyTest& test) {
  json generated = json::array();
  for (const Neighbour& neighbour : test.generated) generated.push_back(neighbour.distance);
  json real = json::array();
  for (const Neighbour& neighbour : test.real) real.push_back(neighbour.distance);
  return {{"copies", test.copies},
          {"passed", test.passed},
          {"threshold", test.threshold},
          {"median_generated", test.median_generated},
          {"median_real", test.median_real},
          {"nearer_p", test.nearer_p},
          {"generated_distances", generated},
          {"real_distances", real}};
}

// Lists the generated volumes nearest to a training volume, nearest first.
void AppendClosest(const CopyTest& test, const char* space, const Sample& generated,
                   const Sample& training, std::vector<json>& pairs) {
  for (size_t i = 0; i < test.generated.size(); ++i) {
    const Neighbour& neighbour = test.generated[i];
    pairs.push_back({{"space", space},
                     {"generated", i},
                     {"generated_name", generated.names[i]},
                     {"training", neighbour.index},
                     {"training_name", training.names[neighbour.index]},
                     {"of_threshold", neighbour.distance / test.threshold}});
  }
}

}  // namespace

absl::StatusOr<json> FidFigures(const Sample& real, const Sample& synthetic,
                                const ResamplingOptions& options) {
  const auto extractor = CommonExtractor(real, synthetic);
  if (!extractor.ok()) return extractor.status();
  const auto distance = FrechetOfSamples(real.features, synthetic.features);
  if (!distance.ok()) return distance.status();
  const auto interval =
      FrechetInterval(real.features, synthetic.features, distance->value(), options);
  if (!interval.ok()) return interval.status();
  json figures = Counts(real, synthetic, *extractor);
  figures["value"] = distance->value();
  figures["mean_term"] = distance->mean_term;
  figures["covariance_term"] = distance->covariance_term;
  figures["interval"] = ToJson(*interval, options.level);
  return figures;
}

absl::StatusOr<json> MmdFigures(const Sample& real, const Sample& synthetic,
                                const ResamplingOptions& options) {
  const auto extractor = CommonExtractor(real, synthetic);
  if (!extractor.ok()) return extractor.status();
  const auto mmd = MmdOfSamples(real.features, synthetic.features, options);
  if (!mmd.ok()) return mmd.status();
  json figures = Counts(real, synthetic, *extractor);
  figures["unbiased"] = mmd->unbiased;
  figures["biased"] = mmd->biased;
  figures["median_distance"] = mmd->median_distance;
  figures["interval"] = ToJson(mmd->interval, options.level);
  figures["permutation_p"] = mmd->permutation_p;
  return figures;
}

json DiversityFigures(const Diversity& generated, const std::optional<Diversity>& real) {
  json values = json::array();
  for (const Diversity::Pair& pair : generated.pairs) values.push_back(pair.ms_ssim);
  json figures = {{"ms_ssim",
                   {{"mean", generated.mean},
                    {"standard_deviation", generated.standard_deviation},
                    {"pairs", generated.pairs.size()},
                    {"scales", generated.scales},
                    {"values", values}}}};
  if (real) {
    figures["real_ms_ssim"] = {{"mean", real->mean},
                               {"standard_deviation", real->standard_deviation},
                               {"pairs", real->pairs.size()}};
    figures["excess"] = generated.mean - real->mean;
  }
  return figures;
}

absl::StatusOr<json> MemorisationFigures(const Sample& generated, const Sample& training,
                                         const Sample& held_out) {
  const auto extractor = CommonExtractor(generated, training);
  if (!extractor.ok()) return extractor.status();
  const auto feature = FindCopies(generated.features, training.features, held_out.features);
  if (!feature.ok()) return feature.status();
  const auto voxel = FindCopies(generated.voxels, training.voxels, held_out.voxels);
  if (!voxel.ok()) return voxel.status();
  std::vector<json> all;
  AppendClosest(*voxel, "voxel", generated, training, all);
  AppendClosest(*feature, "feature", generated, training, all);
  std::stable_sort(all.begin(), all.end(), [](const json& a, const json& b) {
    return a["of_threshold"].get<double>() < b["of_threshold"].get<double>();
  });
  // A pair that is close in both spaces is listed once, in the one where it is closer.
  json closest = json::array();
  std::set<std::pair<int64_t, int64_t>> listed;
  for (const json& pair : all) {
    if (closest.size() == kClosestPairs) break;
    const auto key = std::pair{pair["generated"].get<int64_t>(), pair["training"].get<int64_t>()};
    if (listed.insert(key).second) closest.push_back(pair);
  }
  return json{{"generated_volumes", generated.count()},
              {"training_volumes", training.count()},
              {"held_out_volumes", held_out.count()},
              {"leave_one_out", voxel->leave_one_out},
              {"extractor", *extractor},
              {"copies", std::max(feature->copies, voxel->copies)},
              {"passed", feature->passed && voxel->passed},
              {"feature", ToJson(*feature)},
              {"voxel", ToJson(*voxel)},
              {"closest", closest}};
}

json PlausibilityFigures(const Sample& sample, const PlausibilityRanges& ranges) {
  int64_t rejected = 0;
  std::map<std::string, int64_t> by_figure;
  std::map<std::string, double> sums;
  json volumes = json::array();
  for (int64_t i = 0; i < sample.count(); ++i) {
    const auto violations = ranges.Check(sample.figures[i]);
    rejected += violations.empty() ? 0 : 1;
    for (const auto& violation : violations) {
      ++by_figure[violation.figure];
      volumes.push_back({{"volume", sample.names[i]}, {"violation", violation.ToString()}});
    }
    for (const auto& [figure, value] : sample.figures[i]) sums[figure] += value;
  }
  for (auto& [figure, sum] : sums) sum /= static_cast<double>(sample.count());
  return {{"volumes", sample.count()},
          {"rejected", rejected},
          {"rejected_fraction", static_cast<double>(rejected) / sample.count()},
          {"violations_by_figure", by_figure},
          {"violations", volumes},
          {"means", sums},
          {"ranges", json::parse(ranges.ToJson(), nullptr, false)}};
}

std::string InWords(const json& evaluation) {
  std::string words;
  const auto interval = [](const json& figures) {
    const json& i = figures["interval"];
    if (i["replicates"].get<int>() == 0) return std::string("no interval");
    return absl::StrFormat("%g%% interval %.6g to %.6g, %d resamples",
                           100 * i["level"].get<double>(), i["low"].get<double>(),
                           i["high"].get<double>(), i["replicates"].get<int>());
  };
  const auto counts = [](const json& figures) {
    return absl::StrFormat(
        "%d real and %d synthetic volumes; %s", figures["real_volumes"].get<int64_t>(),
        figures["synthetic_volumes"].get<int64_t>(), figures["extractor"].get<std::string>());
  };
  if (evaluation.contains("fid")) {
    const json& fid = evaluation["fid"];
    absl::StrAppendFormat(&words, "FID %.6g (%s; %s)\n", fid["value"].get<double>(), interval(fid),
                          counts(fid));
  }
  if (evaluation.contains("mmd")) {
    const json& mmd = evaluation["mmd"];
    absl::StrAppendFormat(&words, "MMD^2 %.6g unbiased, %.6g biased (%s; permutation p %.4g; %s)\n",
                          mmd["unbiased"].get<double>(), mmd["biased"].get<double>(), interval(mmd),
                          mmd["permutation_p"].get<double>(), counts(mmd));
  }
  if (evaluation.contains("diversity")) {
    const json& ssim = evaluation["diversity"]["ms_ssim"];
    absl::StrAppendFormat(&words, "MS-SSIM of generated pairs %.4f +- %.4f (%d pairs, %d scales)\n",
                          ssim["mean"].get<double>(), ssim["standard_deviation"].get<double>(),
                          ssim["pairs"].get<int64_t>(), ssim["scales"].get<int64_t>());
    if (evaluation["diversity"].contains("real_ms_ssim")) {
      const json& real = evaluation["diversity"]["real_ms_ssim"];
      absl::StrAppendFormat(&words, "MS-SSIM of real pairs %.4f +- %.4f (%d pairs)\n",
                            real["mean"].get<double>(), real["standard_deviation"].get<double>(),
                            real["pairs"].get<int64_t>());
    }
  }
  if (evaluation.contains("memorisation")) {
    const json& copies = evaluation["memorisation"];
    for (const char* space : {"feature", "voxel"}) {
      const json& test = copies[space];
      absl::StrAppendFormat(
          &words,
          "memorisation, %s space: %d of %d generated volumes are copies (nearer than %.4g to a "
          "training volume; median %.4g, real %.4g): %s\n",
          space, test["copies"].get<int64_t>(), copies["generated_volumes"].get<int64_t>(),
          test["threshold"].get<double>(), test["median_generated"].get<double>(),
          test["median_real"].get<double>(), test["passed"].get<bool>() ? "pass" : "FAIL");
    }
    absl::StrAppend(
        &words, "  reference: ",
        copies["leave_one_out"].get<bool>()
            ? "each training volume against the others (no held-out volumes)"
            : absl::StrCat(copies["held_out_volumes"].get<int64_t>(), " held-out real volumes"),
        "; ", copies["extractor"].get<std::string>(), "\n");
  }
  if (evaluation.contains("plausibility")) {
    const json& gate = evaluation["plausibility"];
    absl::StrAppendFormat(&words, "plausibility: %d of %d volumes rejected\n",
                          gate["rejected"].get<int64_t>(), gate["volumes"].get<int64_t>());
    for (const auto& [figure, count] : gate["violations_by_figure"].items()) {
      absl::StrAppendFormat(&words, "  %s out of range in %d\n", figure, count.get<int64_t>());
    }
  }
  return words;
}

std::string GateInWords(const json& gate) {
  std::string words;
  for (const json& check : gate["checks"]) {
    if (check["passed"].get<bool>()) continue;
    absl::StrAppend(&words, "gate: ", check["figure"].get<std::string>(), " ",
                    check["reason"].get<std::string>(), "\n");
  }
  return absl::StrCat(
      words,
      "gate: ", gate["passed"].get<bool>() ? "passed" : "FAILED, this generator should not serve",
      "\n");
}

}  // namespace synthvol::model
