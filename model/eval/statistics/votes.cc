#include "model/eval/statistics/votes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "model/eval/statistics/special_functions.h"

namespace synthvol::model {
namespace {

double ShareOfFirst(int64_t first, int64_t second) {
  return static_cast<double>(first) / static_cast<double>(first + second);
}

}  // namespace

std::vector<PairCount> CountVotes(const VoteTable& votes) {
  std::vector<PairCount> counts;
  for (const std::vector<Vote>& row : votes) {
    counts.push_back({std::count(row.begin(), row.end(), Vote::kFirst),
                      std::count(row.begin(), row.end(), Vote::kSecond)});
  }
  return counts;
}

VoteSummary Summarise(absl::Span<const PairCount> counts, bool second) {
  VoteSummary summary;
  for (const PairCount& pair : counts) summary.total += second ? pair.second : pair.first;
  const auto n = static_cast<double>(counts.size());
  summary.mean = static_cast<double>(summary.total) / n;
  double squares = 0;
  for (const PairCount& pair : counts) {
    const double difference = static_cast<double>(second ? pair.second : pair.first) - summary.mean;
    squares += difference * difference;
  }
  summary.standard_deviation = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
  return summary;
}

ChiSquare HomogeneityTest(absl::Span<const PairCount> counts) {
  const auto first = static_cast<double>(Summarise(counts, false).total);
  const auto second = static_cast<double>(Summarise(counts, true).total);
  ChiSquare test;
  int64_t rows = 0;
  for (const PairCount& pair : counts) {
    const auto row = static_cast<double>(pair.first + pair.second);
    if (row == 0) continue;
    ++rows;
    for (const auto& [observed, column] :
         {std::pair{pair.first, first}, std::pair{pair.second, second}}) {
      // A choice that nobody made anywhere adds nothing.
      if (column == 0) continue;
      const double expected = row * column / (first + second);
      test.statistic += std::pow(static_cast<double>(observed) - expected, 2) / expected;
    }
  }
  test.degrees = std::max<int64_t>(rows - 1, 0);
  if (test.degrees > 0) {
    test.p = ChiSquareSurvival(test.statistic, static_cast<double>(test.degrees));
  }
  return test;
}

double FleissKappa(const VoteTable& votes) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double readers = votes.empty() ? 0 : static_cast<double>(votes.front().size());
  double pairs = 0;
  double agreement = 0;
  double first = 0;
  for (const PairCount& pair : CountVotes(votes)) {
    if (static_cast<double>(pair.first + pair.second) < readers) continue;
    const auto a = static_cast<double>(pair.first);
    const auto b = static_cast<double>(pair.second);
    agreement += (a * (a - 1) + b * (b - 1)) / (readers * (readers - 1));
    first += a / readers;
    ++pairs;
  }
  if (readers < 2 || pairs == 0) return nan;
  const double share = first / pairs;
  const double chance = share * share + (1 - share) * (1 - share);
  return chance == 1 ? nan : (agreement / pairs - chance) / (1 - chance);
}

Preference BootstrapPreference(const VoteTable& votes, const ResamplingOptions& options) {
  Preference preference;
  const std::vector<PairCount> counts = CountVotes(votes);
  preference.share = ShareOfFirst(Summarise(counts, false).total, Summarise(counts, true).total);
  Resampler resampler(options.seed);
  std::vector<double> replicates;
  for (int i = 0; i < options.replicates && !votes.empty(); ++i) {
    const auto pairs = resampler.Indices(static_cast<int64_t>(votes.size()));
    const auto readers = resampler.Indices(static_cast<int64_t>(votes.front().size()));
    std::array<int64_t, 2> sums{};
    for (const int64_t pair : pairs) {
      for (const int64_t reader : readers) {
        const Vote vote = votes[pair][reader];
        if (vote != Vote::kNone) ++sums[static_cast<size_t>(vote)];
      }
    }
    if (sums[0] + sums[1] > 0) replicates.push_back(ShareOfFirst(sums[0], sums[1]));
  }
  preference.interval = Percentiles(replicates, preference.share, options.level);
  return preference;
}

}  // namespace synthvol::model
