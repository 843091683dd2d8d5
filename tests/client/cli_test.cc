// The parts of `synthvol` that need no server: how work is cut up, percentiles, a DICOM file's
// names.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "client/cli/file_meta.h"
#include "client/cli/load.h"
#include "client/cli/output_folder.h"
#include "client/cli/volume_output.h"
#include "client/cli/work_plan.h"

namespace synthvol::client {
namespace {

TEST(ShardTest, PartsAreDisjointWithoutGapAndEven) {
  for (const uint64_t total : {uint64_t{1}, uint64_t{10}, uint64_t{1001}, uint64_t{1} << 32}) {
    for (const uint64_t count : {uint64_t{1}, uint64_t{3}, uint64_t{7}, uint64_t{1000}}) {
      uint64_t next = 0;
      for (uint64_t index = 0; index < count; ++index) {
        const Shard shard{index, count};
        EXPECT_EQ(shard.Begin(total), next);
        EXPECT_LE(shard.End(total) - shard.Begin(total), total / count + 1);
        next = shard.End(total);
      }
      EXPECT_EQ(next, total);
    }
  }
}

TEST(ShardTest, BadTextIsRefused) {
  EXPECT_TRUE(ParseShard("2/3").ok());
  for (const char* text : {"", "1", "3/3", "-1/3", "1/0", "a/b", "1/2/3", "0/2000000"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseShard(text).status())) << text;
  }
}

TEST(WorkPlanTest, CoversWhatIsMissingOnceAndNeverCrossesASegment) {
  const std::set<uint64_t> done{0, 1, 5, 999, 1500, 2400};
  const std::set<uint64_t> started{3, 1000, 1200, 1201};
  for (const uint64_t parallel : {1, 2, 16}) {
    std::set<uint64_t> planned;
    for (const Stretch& stretch : PlanWork(
             0, 2500, parallel, [&](uint64_t v) { return done.contains(v); },
             [&](uint64_t v) { return started.contains(v); })) {
      EXPECT_EQ(stretch.base % kSegment, 0u);
      EXPECT_LE(stretch.base, stretch.begin);
      EXPECT_LE(stretch.end, stretch.base + kSegment);
      for (uint64_t volume = stretch.begin; volume < stretch.end; ++volume) {
        EXPECT_TRUE(planned.insert(volume).second) << volume << " twice";
        EXPECT_FALSE(done.contains(volume));
        // What was started can be continued only at the front of a request.
        if (started.contains(volume)) {
          EXPECT_EQ(volume, stretch.begin);
        }
      }
    }
    EXPECT_EQ(planned.size(), 2500 - done.size());
  }
}

TEST(OutputStemTest, IsStableAndHarmless) {
  EXPECT_EQ(OutputStem("thorax", 42), "thorax-seed-000042");
  EXPECT_EQ(OutputStem("thorax", 4294967295), "thorax-seed-4294967295");
  EXPECT_EQ(OutputStem("../etc/x y", 1), "_._etc_x_y-seed-000001");
}

TEST(PercentileTest, IsTheNearestRank) {
  std::vector<double> values;
  for (int i = 1; i <= 100; ++i) values.push_back(i);
  EXPECT_EQ(Percentile(values, 0.5), 50);
  EXPECT_EQ(Percentile(values, 0.99), 99);
  EXPECT_EQ(Percentile(values, 1.0), 100);
  EXPECT_EQ(Percentile({7}, 0.01), 7);
  EXPECT_EQ(Percentile({}, 0.5), 0);
}

std::string Element(int element, const std::string& vr, const std::string& value) {
  std::string bytes{2, 0, static_cast<char>(element), 0};
  bytes += vr;
  bytes += static_cast<char>(value.size());
  bytes += '\0';
  return bytes + value;
}

TEST(FileMetaTest, ReadsTheThreeNamesAndRefusesOtherFiles) {
  const std::string meta = Element(2, "UI", std::string("1.2\0", 4)) + Element(3, "UI", "2.25.7") +
                           Element(0x10, "UI", std::string("1.2.840\0", 8));
  const std::string file = std::string(128, '\0') + "DICM" + meta + std::string(20, '\x08');
  const auto identity = ReadFileMeta(file);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->sop_class_uid, "1.2");
  EXPECT_EQ(identity->sop_instance_uid, "2.25.7");
  EXPECT_EQ(identity->transfer_syntax_uid, "1.2.840");
  // Any truncation within the names, and anything that is no DICOM, is refused without reading past
  // the end.
  for (size_t size = 0; size < 132 + meta.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(ReadFileMeta(file.substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(ReadFileMeta(std::string(4000, 'x')).status()));
}

}  // namespace
}  // namespace synthvol::client
