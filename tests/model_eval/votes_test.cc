#include "model/eval/statistics/votes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "model/eval/statistics/special_functions.h"
#include "model/eval/study/analyze.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

// 30 pairs of 12 votes with the paper's totals, 215 to 145, and a sum of squares of 1747. Any table
// with these three numbers has the paper's chi-square and standard deviation.
std::vector<PairCount> PaperTable() {
  const std::vector<int64_t> first = {12, 12, 12, 11, 10, 9, 9, 9, 8, 8, 8, 8, 8, 8, 7,
                                      7,  7,  7,  6,  6,  6, 6, 5, 5, 4, 4, 4, 4, 3, 2};
  std::vector<PairCount> counts;
  for (const int64_t votes : first) counts.push_back({votes, 12 - votes});
  return counts;
}

TEST(Homogeneity, GivesThePapersChiSquare) {
  int64_t total = 0;
  int64_t squares = 0;
  for (const PairCount& pair : PaperTable()) {
    total += pair.first;
    squares += pair.first * pair.first;
  }
  ASSERT_EQ(total, 215);
  ASSERT_EQ(squares, 1747);
  const ChiSquare test = HomogeneityTest(PaperTable());
  EXPECT_EQ(test.degrees, 29);
  // Sum of squares about the mean over n p q, whatever the table.
  const double p = 215.0 / 360;
  const double about_mean = static_cast<double>(squares) - 215.0 * 215 / 30;
  EXPECT_NEAR(test.statistic, about_mean / (12 * p * (1 - p)), 1e-9);
  EXPECT_NEAR(test.statistic, 71.42, 0.005);
  EXPECT_NEAR(test.p, 1.8e-5, 1e-5);
}

TEST(Summary, GivesThePapersTotalsMeansAndDeviation) {
  const VoteSummary first = Summarise(PaperTable(), false);
  const VoteSummary second = Summarise(PaperTable(), true);
  EXPECT_EQ(first.total, 215);
  EXPECT_EQ(second.total, 145);
  EXPECT_NEAR(first.mean, 7.17, 0.005);
  EXPECT_NEAR(second.mean, 4.83, 0.005);
  EXPECT_NEAR(first.standard_deviation, 2.67, 0.005);
  EXPECT_DOUBLE_EQ(first.standard_deviation, second.standard_deviation);
}

TEST(Homogeneity, IsZeroForEqualPairsHoweverStrongThePreference) {
  const std::vector<PairCount> equal(30, PairCount{10, 2});
  EXPECT_NEAR(HomogeneityTest(equal).statistic, 0, 1e-12);
  EXPECT_LT(BinomialTestOfHalf(300, 360), 1e-30);
}

TEST(FleissKappa, MatchesHandWorkedTables) {
  const Vote a = Vote::kFirst;
  const Vote b = Vote::kSecond;
  EXPECT_DOUBLE_EQ(FleissKappa({{a, a, a}, {b, b, b}}), 1);
  // Three readers, pairs 2:1 and 1:2: agreement 1/3 each, chance 1/2.
  EXPECT_NEAR(FleissKappa({{a, a, b}, {a, b, b}}), (1.0 / 3 - 0.5) / 0.5, 1e-12);
  EXPECT_TRUE(std::isnan(FleissKappa({{a, a, a}})));
  EXPECT_TRUE(std::isnan(FleissKappa({{a}, {b}})));
}

// Readers who choose the first generator with a known probability.
VoteTable Simulate(int pairs, int readers, double share, uint32_t seed) {
  std::mt19937 random(seed);
  VoteTable votes(pairs, std::vector<Vote>(readers));
  for (auto& row : votes) {
    for (Vote& vote : row) {
      vote = random() < share * 4294967296.0 ? Vote::kFirst : Vote::kSecond;
    }
  }
  return votes;
}

TEST(Bootstrap, CoversAKnownPreferenceAndSeldomFindsOneThatIsNotThere) {
  ResamplingOptions options;
  options.replicates = 500;
  constexpr uint32_t kStudies = 60;
  double covered = 0;
  double found = 0;
  double false_finds = 0;
  for (uint32_t study = 0; study < kStudies; ++study) {
    const Interval known = BootstrapPreference(Simulate(30, 12, 0.65, study), options).interval;
    covered += known.low <= 0.65 && 0.65 <= known.high ? 1 : 0;
    found += known.low > 0.5 ? 1 : 0;
    const Interval none = BootstrapPreference(Simulate(30, 12, 0.5, study), options).interval;
    false_finds += none.low > 0.5 || none.high < 0.5 ? 1 : 0;
  }
  // Resampling both ways is conservative: at least its level of 95%.
  EXPECT_GE(covered, 0.9 * kStudies);
  EXPECT_GE(found, 0.9 * kStudies);
  EXPECT_LE(false_finds, 0.1 * kStudies);
}

struct Simulated {
  StudyKey key;
  std::vector<StudyAnswers> readers;
};

// A study of 10 and 30 pairs whose 12 readers find the real scan in 9 of 10 and prefer the first
// generator in 20 of 30.
Simulated KnownStudy() {
  Simulated study;
  study.key.study = "s";
  study.key.first_label = "CRF-GAN";
  study.key.second_label = "HA-GAN";
  for (int i = 0; i < 40; ++i) {
    const std::string id = absl::StrCat("p", i);
    study.key.pairs.push_back({id, i < 10 ? StudyPart::kRealOrSynthetic : StudyPart::kPreference,
                               absl::StrCat(id, "-x"), absl::StrCat(id, "-y")});
  }
  for (int r = 0; r < 12; ++r) {
    StudyAnswers reader{"s", absl::StrCat("reader ", r), {}};
    for (int i = 0; i < 40; ++i) {
      const bool first = i < 10 ? (i + r) % 10 != 0 : (i + r) % 3 != 0;
      StudyAnswer answer{
          study.key.pairs[i].id, absl::StrCat(study.key.pairs[i].id, first ? "-x" : "-y"), {}, 1};
      if (i < 10) answer.difficulty = 1 + r % 5;
      reader.answers.push_back(answer);
    }
    study.readers.push_back(reader);
  }
  return study;
}

TEST(AnalyzeStudy, GivesTheKnownAnswerOfASimulatedStudy) {
  const Simulated study = KnownStudy();
  const json analysis = AnalyzeStudy(study.key, study.readers, ResamplingOptions()).value();
  EXPECT_EQ(analysis["real_or_synthetic"]["first"]["total"], 108);
  EXPECT_DOUBLE_EQ(analysis["real_or_synthetic"]["share_of_first"].get<double>(), 0.9);
  EXPECT_EQ(analysis["real_or_synthetic"]["difficulty"], json({30, 30, 20, 20, 20}));
  EXPECT_EQ(analysis["preference"]["first"]["total"], 240);
  EXPECT_EQ(analysis["preference"]["second"]["total"], 120);
  EXPECT_LT(analysis["preference"]["binomial_p"].get<double>(), 1e-9);
  const std::string words = StudyInWords(analysis);
  EXPECT_NE(words.find("CRF-GAN: 240 votes, 8.00 +- 0.00 a pair"), std::string::npos) << words;
  EXPECT_NE(words.find("homogeneity over pairs: 0.00 at 29 degrees"), std::string::npos) << words;
}

TEST(AnalyzeStudy, NamesAnswersThatDoNotFitTheKey) {
  const auto message = [](const auto& change) {
    Simulated study = KnownStudy();
    change(study);
    return std::string(
        AnalyzeStudy(study.key, study.readers, ResamplingOptions()).status().message());
  };
  EXPECT_NE(message([](Simulated& s) { s.readers[1].study = "other"; }).find("another study"),
            std::string::npos);
  EXPECT_NE(message([](Simulated& s) { s.readers[1].reader = "reader 0"; }).find("twice"),
            std::string::npos);
  EXPECT_NE(message([](Simulated& s) { s.readers[2].answers[3].pair = "p99"; }).find("p99"),
            std::string::npos);
  EXPECT_NE(
      message([](Simulated& s) { s.readers[2].answers[3].chosen = "p7-x"; }).find("another pair"),
      std::string::npos);
  EXPECT_NE(message([](Simulated& s) { s.readers.clear(); }).find("answers of a reader"),
            std::string::npos);
}

TEST(StudyFiles, SurviveTheRoundTripAndNameWrongFields) {
  const StudyKey key = KnownStudy().key;
  const auto parsed = ParseStudyKey(ToJson(key), "key.json");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(ToJson(*parsed), ToJson(key));
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"", "not a JSON object"},
      {R"({"format":1})", "study"},
      {R"({"format":1,"study":"s"})", "reader"},
      {R"({"format":1,"study":"s","reader":"r","answers":[]})", "answers"},
      {R"({"format":1,"study":"s","reader":"r","answers":[{"pair":"p","chosen":3}]})", "answers"},
      {R"({"format":1,"study":"s","reader":"r","answers":[{"pair":"p","chosen":"x","difficulty":6}]})",
       "difficulty"},
  };
  for (const auto& [text, word] : wrong) {
    const auto answers = ParseStudyAnswers(text, "a.json");
    ASSERT_FALSE(answers.ok()) << text;
    EXPECT_NE(answers.status().message().find(word), std::string::npos) << answers.status();
  }
}

}  // namespace
}  // namespace synthvol::model
