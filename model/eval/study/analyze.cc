#include "model/eval/study/analyze.h"

#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/eval/statistics/special_functions.h"
#include "model/eval/statistics/votes.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

constexpr int kDifficulties = 5;

// One part's votes: rows are the key's pairs of that part, columns the readers.
struct PartVotes {
  std::vector<std::string> pairs;
  VoteTable votes;
  std::array<int64_t, kDifficulties> difficulty{};
};

absl::Status Misfit(const StudyAnswers& reader, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("answers of '", reader.reader, "': ", what));
}

absl::StatusOr<std::map<StudyPart, PartVotes>> Tabulate(const StudyKey& key,
                                                        const std::vector<StudyAnswers>& readers) {
  std::map<StudyPart, PartVotes> parts;
  std::map<std::string, size_t> row_of;
  for (const StudyPair& pair : key.pairs) {
    PartVotes& part = parts[pair.part];
    row_of[pair.id] = part.votes.size();
    part.pairs.push_back(pair.id);
    part.votes.emplace_back(readers.size(), Vote::kNone);
  }
  std::set<std::string> names;
  for (size_t r = 0; r < readers.size(); ++r) {
    const StudyAnswers& reader = readers[r];
    if (reader.study != key.study) return Misfit(reader, "belong to another study than the key");
    if (!names.insert(reader.reader).second) return Misfit(reader, "this reader appears twice");
    for (const StudyAnswer& answer : reader.answers) {
      const StudyPair* const pair = key.Find(answer.pair);
      if (pair == nullptr) return Misfit(reader, absl::StrCat("unknown pair ", answer.pair));
      if (answer.chosen != pair->first && answer.chosen != pair->second) {
        return Misfit(reader, absl::StrCat(answer.pair, ": chose a volume of another pair"));
      }
      PartVotes& part = parts[pair->part];
      part.votes[row_of[pair->id]][r] = answer.chosen == pair->first ? Vote::kFirst : Vote::kSecond;
      if (answer.difficulty) ++part.difficulty[static_cast<size_t>(*answer.difficulty - 1)];
    }
  }
  return parts;
}

json ToJson(const VoteSummary& summary) {
  return {{"total", summary.total},
          {"mean", summary.mean},
          {"standard_deviation", summary.standard_deviation}};
}

// JSON has no NaN: an undefined figure is null.
json NumberOrNull(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

// The figures that both parts share: votes for the first of each pair (the real scan; the first
// generator) against the second.
json PartFigures(const PartVotes& part, const ResamplingOptions& options) {
  const std::vector<PairCount> counts = CountVotes(part.votes);
  const VoteSummary first = Summarise(counts, false);
  const VoteSummary second = Summarise(counts, true);
  const int64_t total = first.total + second.total;
  const auto [low, high] = ClopperPearson(first.total, total, options.level);
  const ChiSquare chi = HomogeneityTest(counts);
  const Preference preference = BootstrapPreference(part.votes, options);
  json rows = json::array();
  for (size_t i = 0; i < counts.size(); ++i) {
    rows.push_back(
        {{"pair", part.pairs[i]}, {"first", counts[i].first}, {"second", counts[i].second}});
  }
  return {{"pairs", counts.size()},
          {"readers", part.votes.empty() ? 0 : part.votes.front().size()},
          {"votes", total},
          {"first", ToJson(first)},
          {"second", ToJson(second)},
          {"share_of_first", static_cast<double>(first.total) / static_cast<double>(total)},
          {"clopper_pearson", {low, high}},
          {"level", options.level},
          {"homogeneity", {{"chi_square", chi.statistic}, {"degrees", chi.degrees}, {"p", chi.p}}},
          {"binomial_p", BinomialTestOfHalf(first.total, total)},
          {"bootstrap",
           {{"low", preference.interval.low},
            {"high", preference.interval.high},
            {"replicates", preference.interval.replicates}}},
          {"fleiss_kappa", NumberOrNull(FleissKappa(part.votes))},
          {"votes_per_pair", rows}};
}

int64_t CountAll(const PartVotes& part) {
  const std::vector<PairCount> counts = CountVotes(part.votes);
  return Summarise(counts, false).total + Summarise(counts, true).total;
}

std::string KappaInWords(const json& kappa) {
  return kappa.is_null() ? std::string("undefined here")
                         : absl::StrFormat("%.3f", kappa.get<double>());
}

std::string TestsInWords(const json& part, const std::string& first) {
  const json& chi = part["homogeneity"];
  std::string words;
  absl::StrAppendFormat(
      &words,
      "  Is there a preference at all, taking every vote as independent? Binomial test against "
      "50%%: p = %.3g.\n",
      part["binomial_p"].get<double>());
  absl::StrAppendFormat(
      &words,
      "  How sure is the share for %s when both other readers and other pairs could have been "
      "drawn? Bootstrap over pairs and readers: %.1f%% to %.1f%% (%d resamples).\n",
      first, 100 * part["bootstrap"]["low"].get<double>(),
      100 * part["bootstrap"]["high"].get<double>(), part["bootstrap"]["replicates"].get<int>());
  absl::StrAppendFormat(
      &words,
      "  Do all pairs show the same preference? The paper's chi-square, homogeneity over pairs: "
      "%.2f at %d degrees of freedom, p = %.3g. A small p says that pairs differ, not that either "
      "side is preferred.\n",
      chi["chi_square"].get<double>(), chi["degrees"].get<int64_t>(), chi["p"].get<double>());
  absl::StrAppend(&words, "  Do readers agree on the same pairs beyond chance? Fleiss' kappa: ",
                  KappaInWords(part["fleiss_kappa"]), " (1 full agreement, 0 chance).\n");
  return words;
}

std::string CountsInWords(const json& part) {
  return absl::StrFormat("%d readers, %d pairs, %d votes", part["readers"].get<int64_t>(),
                         part["pairs"].get<int64_t>(), part["votes"].get<int64_t>());
}

std::string ShareInWords(const json& part) {
  return absl::StrFormat("%.1f%% (%g%% Clopper-Pearson interval %.1f%% to %.1f%%)",
                         100 * part["share_of_first"].get<double>(),
                         100 * part["level"].get<double>(),
                         100 * part["clopper_pearson"][0].get<double>(),
                         100 * part["clopper_pearson"][1].get<double>());
}

}  // namespace

absl::StatusOr<json> AnalyzeStudy(const StudyKey& key, const std::vector<StudyAnswers>& readers,
                                  const ResamplingOptions& options) {
  if (readers.empty()) return absl::InvalidArgumentError("a study needs answers of a reader");
  const auto parts = Tabulate(key, readers);
  if (!parts.ok()) return parts.status();
  json analysis = {{"study", key.study}, {"labels", {key.first_label, key.second_label}}};
  for (const auto& [kind, part] : *parts) {
    if (CountAll(part) == 0) continue;
    json figures = PartFigures(part, options);
    if (kind == StudyPart::kRealOrSynthetic) figures["difficulty"] = part.difficulty;
    analysis[kind == StudyPart::kRealOrSynthetic ? "real_or_synthetic" : "preference"] = figures;
  }
  return analysis;
}

std::string StudyInWords(const json& analysis) {
  std::string words;
  if (analysis.contains("real_or_synthetic")) {
    const json& part = analysis["real_or_synthetic"];
    absl::StrAppend(&words, "Real or synthetic (", CountsInWords(part), ")\n");
    absl::StrAppend(&words, "  How often was the real scan found? ", ShareInWords(part),
                    "; guessing gives 50%.\n");
    absl::StrAppend(&words, "  Difficulty 1 to 5:");
    for (const json& count : part["difficulty"]) {
      absl::StrAppend(&words, " ", count.get<int64_t>());
    }
    absl::StrAppend(&words, " votes.\n", TestsInWords(part, "the real scan"));
  }
  if (analysis.contains("preference")) {
    const json& part = analysis["preference"];
    const auto first = analysis["labels"][0].get<std::string>();
    const auto second = analysis["labels"][1].get<std::string>();
    absl::StrAppend(&words, first, " or ", second, " (", CountsInWords(part), ")\n");
    for (const auto& [label, side] : {std::pair{first, "first"}, std::pair{second, "second"}}) {
      absl::StrAppendFormat(&words, "  %s: %d votes, %.2f +- %.2f a pair\n", label,
                            part[side]["total"].get<int64_t>(), part[side]["mean"].get<double>(),
                            part[side]["standard_deviation"].get<double>());
    }
    absl::StrAppend(&words, "  How often was ", first, " preferred? ", ShareInWords(part), ".\n",
                    TestsInWords(part, first));
  }
  return words;
}

}  // namespace synthvol::model
