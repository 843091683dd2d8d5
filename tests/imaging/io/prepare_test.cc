#include "imaging/io/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "imaging/io/memory_gate.h"
#include "imaging/io/progress_log.h"
#include "imaging/io/split.h"
#include "imaging/volume_writer.h"
#include "tests/imaging/temp_dir.h"

namespace synthvol::imaging {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

PrepareOptions Phantoms(const TempDir& dir, int64_t count) {
  PrepareOptions options;
  options.phantom_count = count;
  options.output = dir / "set";
  options.size = 16;
  options.jobs = 2;
  return options;
}

void WriteScan(const std::string& path, int16_t first) {
  Volume volume;
  volume.geometry.size = {20, 20, 20};
  volume.voxels.assign(8000, 40);
  volume.voxels[0] = first;
  ASSERT_TRUE(WriteVolume(path, VolumeFormat::kNifti, volume).ok());
}

TEST(PrepareTest, PhantomsComeWithLabelsAndAManifest) {
  const TempDir dir;
  const auto result = Prepare(Phantoms(dir, 5));
  ASSERT_TRUE(result.ok()) << result.status();
  const auto manifest = ReadManifest(dir / "set");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(*manifest, result->manifest);
  ASSERT_EQ(manifest->items.size(), 5u);
  EXPECT_EQ(manifest->Count(Split::kValidation), 1);
  EXPECT_THAT(manifest->class_names, ::testing::ElementsAre("no-nodule", "nodule"));
  std::string labels = "file,class\n";
  for (size_t i = 0; i < 5; ++i) {
    const DatasetItem& item = manifest->items[i];
    EXPECT_EQ(item.source, absl::StrCat("phantom:", i));
    EXPECT_EQ(item.label, static_cast<int64_t>(i % 2));
    EXPECT_TRUE(MappedVolume::Open(absl::StrCat(dir / "set", "/", item.file), 16).ok());
    labels += absl::StrCat(item.file, ",", i % 2, "\n");
  }
  EXPECT_EQ(*ReadFile(dir / "set/labels.csv"), labels);
  EXPECT_FALSE(fs::exists(dir / "set/prepare.jsonl"));
  EXPECT_FALSE(fs::exists(dir / "set/.lock"));
}

TEST(PrepareTest, ARerunKeepsWhatIsDoneAndGrows) {
  const TempDir dir;
  ASSERT_TRUE(Prepare(Phantoms(dir, 2)).ok());
  const std::string digest = *ManifestDigest(dir / "set");
  const auto again = Prepare(Phantoms(dir, 2));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->reused, 2);
  EXPECT_EQ(*ManifestDigest(dir / "set"), digest);
  const auto more = Prepare(Phantoms(dir, 3));
  ASSERT_TRUE(more.ok());
  EXPECT_EQ(more->reused, 2);
  EXPECT_EQ(more->manifest.items.size(), 3u);
  const auto fewer = Prepare(Phantoms(dir, 1));
  EXPECT_EQ(fewer.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(fewer.status().message()), HasSubstr("volumes of other inputs"));
}

TEST(PrepareTest, JobsDoNotChangeTheResult) {
  const TempDir one;
  const TempDir four;
  PrepareOptions options = Phantoms(one, 4);
  options.jobs = 1;
  ASSERT_TRUE(Prepare(options).ok());
  options.output = four / "set";
  options.jobs = 4;
  ASSERT_TRUE(Prepare(options).ok());
  EXPECT_EQ(*ReadFile(one / "set/manifest.json"), *ReadFile(four / "set/manifest.json"));
  EXPECT_EQ(*ReadFile(one / "set/volumes/00003.npy"), *ReadFile(four / "set/volumes/00003.npy"));
}

TEST(PrepareTest, OtherSettingsInOneFolderAreRefused) {
  const TempDir dir;
  ASSERT_TRUE(Prepare(Phantoms(dir, 1)).ok());
  PrepareOptions options = Phantoms(dir, 1);
  options.size = 20;
  const auto result = Prepare(options);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("was prepared with size 16, this run asks for 20; expected the same "
                        "settings or another folder"));
  EXPECT_TRUE(ReadManifest(dir / "set").ok()) << "the data set is left alone";
}

TEST(PrepareTest, AStoppedRunGoesOn) {
  const TempDir dir;
  const auto whole = Prepare(Phantoms(dir, 3));
  ASSERT_TRUE(whole.ok());
  // What a run leaves that was killed after two volumes and while it wrote the third line.
  const PrepareSettings settings{16, "CT", "-1024,600", 0.9, 0};
  {
    auto log = ProgressLog::Open(dir / "set", settings);
    ASSERT_TRUE(log.ok()) << log.status();
  }
  EXPECT_FALSE(fs::exists(dir / "set/manifest.json")) << "incomplete";
  std::string lines = *ReadFile(dir / "set/prepare.jsonl");
  lines.resize(lines.size() - 30);
  ASSERT_TRUE(WriteFileAtomically(dir / "set/prepare.jsonl", lines).ok());
  std::ofstream(dir / "set/volumes/00002.npy.partial-1-2") << "half";
  const auto rest = Prepare(Phantoms(dir, 3));
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_EQ(rest->reused, 2);
  EXPECT_EQ(rest->manifest, whole->manifest);
  EXPECT_FALSE(fs::exists(dir / "set/volumes/00002.npy.partial-1-2"));
}

TEST(PrepareTest, AChangedScanIsPreparedAnew) {
  const TempDir dir;
  WriteScan(dir / "a.nii", 0);
  WriteScan(dir / "b.nii", 1);
  PrepareOptions options;
  options.inputs = {dir / "a.nii", dir / "b.nii"};
  options.output = dir / "set";
  options.size = 16;
  const auto first = Prepare(options);
  ASSERT_TRUE(first.ok()) << first.status();
  WriteScan(dir / "b.nii", 2);
  const auto second = Prepare(options);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->reused, 1);
  EXPECT_EQ(second->changed, 1);
  EXPECT_EQ(second->manifest.items[0], first->manifest.items[0]);
  EXPECT_NE(second->manifest.items[1].source_digest, first->manifest.items[1].source_digest);
  EXPECT_EQ(second->manifest.items[1].file, first->manifest.items[1].file);
}

TEST(PrepareTest, NothingPreparedIsAnError) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileAtomically(dir / "broken.nii", "no image").ok());
  PrepareOptions options;
  options.inputs = {dir / "broken.nii"};
  options.output = dir / "set";
  const auto result = Prepare(options);
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("none of 1 scans could be prepared; the first: "));
  EXPECT_FALSE(fs::exists(dir / "set/manifest.json"));
}

TEST(PrepareTest, TwoRunsDoNotShareAFolder) {
  const TempDir dir;
  auto log = ProgressLog::Open(dir / "set", {16, "CT", "-1024,600", 0.9, 0});
  ASSERT_TRUE(log.ok());
  const auto result = Prepare(Phantoms(dir, 1));
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("another synthvol-prepare is filling this folder"));
}

std::vector<DatasetItem> Items(int patients, int scans_each) {
  std::vector<DatasetItem> items;
  for (int patient = 0; patient < patients; ++patient) {
    for (int scan = 0; scan < scans_each; ++scan) {
      DatasetItem item;
      item.patient = absl::StrCat("p", patient);
      items.push_back(item);
    }
  }
  return items;
}

TEST(SplitTest, PatientsStayTogetherInTheRightShare) {
  for (const auto& [patients, validating] :
       std::vector<std::pair<int, size_t>>{{1, 0}, {2, 0}, {5, 1}, {10, 1}, {40, 4}}) {
    std::vector<DatasetItem> items = Items(patients, 3);
    AssignSplits(0.9, 0, &items);
    std::set<std::string> train;
    std::set<std::string> validation;
    for (const DatasetItem& item : items) {
      (item.split == Split::kTrain ? train : validation).insert(item.patient);
    }
    EXPECT_EQ(validation.size(), validating) << patients;
    EXPECT_EQ(train.size() + validation.size(), static_cast<size_t>(patients));
  }
}

TEST(SplitTest, AtLeastOnePatientTrainsAndTheSeedCounts) {
  std::vector<DatasetItem> items = Items(3, 1);
  AssignSplits(0.01, 0, &items);
  EXPECT_EQ(std::count_if(items.begin(), items.end(),
                          [](const DatasetItem& item) { return item.split == Split::kTrain; }),
            1);
  std::vector<DatasetItem> zero = Items(40, 1);
  std::vector<DatasetItem> one = Items(40, 1);
  AssignSplits(0.5, 0, &zero);
  AssignSplits(0.5, 1, &one);
  EXPECT_NE(zero, one);
  std::reverse(one.begin(), one.end());
  AssignSplits(0.5, 0, &one);
  std::reverse(one.begin(), one.end());
  EXPECT_EQ(zero, one) << "order does not matter";
}

TEST(MemoryGateTest, JobsNeverHoldMoreThanTheBudget) {
  MemoryGate gate(100);
  std::atomic<int> held{0};
  std::atomic<int> most{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        const MemoryGate::Hold hold(gate, 40);
        const int now = held += 40;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::yield();
        held -= 40;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 80);
  const MemoryGate::Hold larger_than_all(gate, 1000);
}

}  // namespace
}  // namespace synthvol::imaging
