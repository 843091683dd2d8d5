// The statistics of a two-alternative forced-choice reader study. Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_VOTES_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_VOTES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/eval/statistics/resampling.h"

namespace synthvol::model {

// One reader's vote on one pair.
enum class Vote : int8_t { kNone = -1, kFirst = 0, kSecond = 1 };

// [pairs][readers]; every row has as many readers.
using VoteTable = std::vector<std::vector<Vote>>;

// Votes on one pair.
struct PairCount {
  int64_t first = 0;
  int64_t second = 0;

  friend bool operator==(const PairCount&, const PairCount&) = default;
};

// Counts each row's votes.
std::vector<PairCount> CountVotes(const VoteTable& votes);

// Sum, mean and sample standard deviation (n - 1) of the votes per pair: a line of Table 2.
struct VoteSummary {
  int64_t total = 0;
  double mean = 0;
  double standard_deviation = 0;
};
VoteSummary Summarise(absl::Span<const PairCount> counts, bool second);

struct ChiSquare {
  double statistic = 0;
  int64_t degrees = 0;
  double p = 1;
};

// Pearson's homogeneity test of the table [pairs, 2]: sum over cells of (observed - expected)^2 /
// expected, expected = row total x column total / grand total, degrees = pairs - 1. It asks whether
// all pairs share one preference, not whether there is one. Pairs without votes are left out.
ChiSquare HomogeneityTest(absl::Span<const PairCount> counts);

// Fleiss' kappa (1971) of the agreement between readers beyond chance; only pairs that all readers
// judged count. NaN when there are fewer than 2 readers, no such pair, or only one category in use.
double FleissKappa(const VoteTable& votes);

// Returns the share of votes for kFirst among all, and the percentile interval when both pairs and
// readers are drawn again with replacement: readers and cases are both samples.
struct Preference {
  double share = 0;
  Interval interval;
};
Preference BootstrapPreference(const VoteTable& votes, const ResamplingOptions& options);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_VOTES_H_
