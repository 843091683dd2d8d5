#include "model/eval/gate/evaluation_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "model/eval/gate/plausibility.h"

namespace synthvol::model {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kDigest = "d1";

json Check(const char* figure, json value, bool passed) {
  return {{"figure", figure}, {"value", value}, {"max", 0.2}, {"passed", passed}, {"reason", "r"}};
}

// A report of two generators: d1 passed, d2 failed.
json Report() {
  const PlausibilityRanges ranges =
      PlausibilityRanges::Of({{{"mean", -500.0}}}, {-1024, 600}, DefaultRegions("CT", {-1024, 600}))
          .value();
  json report = {{"label", "CRF-GAN"},
                 {"sample", "8 volumes from seeds 0..7"},
                 {"checkpoint_digest", kDigest},
                 {"plausibility", {{"ranges", json::parse(ranges.ToJson())}}},
                 {"provenance", {{"extractor", "random"}, {"time", "2026-01-01T00:00:00Z"}}},
                 {"gate", {{"passed", true}, {"checks", {Check("diversity.excess", 0.1, true)}}}}};
  report["others"] = {
      {{"label", "HA-GAN"},
       {"sample", "8 other volumes"},
       {"checkpoint_digest", "d2"},
       {"gate",
        {{"passed", false},
         {"checks",
          {Check("diversity.excess", 0.25, false), Check("fid.value", nullptr, false)}}}}}};
  return report;
}

TEST(ParseEvaluation, FindsTheGeneratorByItsDigest) {
  const std::string text = Report().dump();
  const auto first = ParseEvaluation(text, kDigest, "report.json");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->passed);
  EXPECT_EQ(first->checks, "diversity.excess 0.1 (at most 0.2)");
  EXPECT_EQ(first->sample, "8 volumes from seeds 0..7");
  const auto second = ParseEvaluation(text, "d2", "report.json");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(second->passed);
  EXPECT_EQ(second->checks,
            "diversity.excess 0.25 (at most 0.2): FAILED; fid.value not measured (at most 0.2): "
            "FAILED");
  EXPECT_EQ(second->sample, "8 other volumes");
}

TEST(Record, WritesProvenanceAndKeepsTheCheckpointsOwnRanges) {
  const std::string text = Report().dump();
  const EvaluationRecord record = ParseEvaluation(text, kDigest, "report.json").value();
  ModelConfig config;
  Record(record, config);
  EXPECT_EQ(config.provenance.at("gate"), kGatePassed);
  EXPECT_EQ(config.provenance.at("gate_checks"), record.checks);
  EXPECT_EQ(config.provenance.at("evaluation_extractor"), "random");
  EXPECT_EQ(config.provenance.at("evaluation_time"), "2026-01-01T00:00:00Z");
  EXPECT_EQ(config.provenance.at("evaluation_sha256"), Sha256Hex(text));
  EXPECT_TRUE(PlausibilityRanges::Parse(config.plausibility_json, "config").ok());
  EXPECT_TRUE(Validate(config).ok());
  config.plausibility_json = "{}";
  Record(record, config);
  EXPECT_EQ(config.plausibility_json, "{}");
}

TEST(ParseEvaluation, RefusesWhatIsNoVerdictOnTheseWeights) {
  const auto message = [](const auto& change) {
    json report = Report();
    change(report);
    const auto record = ParseEvaluation(report.dump(), kDigest, "report.json");
    EXPECT_FALSE(record.ok());
    EXPECT_THAT(record.status().message(), HasSubstr("report.json"));
    return std::string(record.status().message());
  };
  EXPECT_THAT(message([](json& r) { r["checkpoint_digest"] = "d3"; }), HasSubstr("other weights"));
  EXPECT_THAT(message([](json& r) { r["checkpoint_digest"] = 7; }), HasSubstr("other weights"));
  EXPECT_THAT(message([](json& r) { r.erase("checkpoint_digest"); }), HasSubstr("other weights"));
  EXPECT_THAT(message([](json& r) { r["gate"] = nullptr; }), HasSubstr("--gate"));
  EXPECT_THAT(message([](json& r) { r["gate"] = json::object(); }), HasSubstr("passed and checks"));
  EXPECT_THAT(message([](json& r) { r["gate"]["checks"] = json::array(); }), HasSubstr("checks"));
  EXPECT_THAT(message([](json& r) { r["gate"]["checks"] = {1, "x"}; }), HasSubstr("gate.checks"));
  EXPECT_THAT(message([](json& r) { r["gate"]["checks"][0]["passed"] = "yes"; }),
              HasSubstr("gate.checks"));
  // A verdict that was edited, and one whose figures were.
  EXPECT_THAT(message([](json& r) { r["gate"]["passed"] = false; }), HasSubstr("gate.passed"));
  EXPECT_THAT(message([](json& r) { r["gate"]["checks"][0]["passed"] = false; }),
              HasSubstr("gate.passed"));
  EXPECT_THAT(message([](json& r) { r.erase("provenance"); }), HasSubstr("synthvol-eval report"));
  EXPECT_THAT(message([](json& r) { r["sample"] = json::array(); }),
              HasSubstr("synthvol-eval report"));
  EXPECT_THAT(message([](json& r) { r["plausibility"]["ranges"]["format"] = 9; }),
              HasSubstr("plausibility.ranges"));
  for (const char* text : {"", "[]", "{", "{\"a\":1,\"a\":2}", "null"}) {
    EXPECT_FALSE(ParseEvaluation(text, kDigest, "report.json").ok()) << text;
  }
}

}  // namespace
}  // namespace synthvol::model
