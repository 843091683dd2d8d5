// The registry over real checkpoints: loading, refusing, replacing, unloading, labels.
#include "server/registry/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "server/scheduling/annotated_status.h"
#include "tests/server/testing/test_server.h"

namespace synthvol::server {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ModelRegistryTest : public ::testing::Test {
 protected:
  std::unique_ptr<ModelRegistry> Open(int64_t budget = 0) {
    RegistryOptions options;
    options.repository = folder_.path();
    options.device_byte_budget = budget;
    auto registry = ModelRegistry::Create(std::move(options));
    EXPECT_TRUE(registry.ok()) << registry.status();
    (*registry)->Poll();
    return *std::move(registry);
  }
  void Spoil(const std::string& version, const std::string& file, const std::string& content) {
    fs::create_directories(folder_.path() + "/" + version);
    std::ofstream(folder_.path() + "/" + version + "/" + file, std::ios::trunc) << content;
  }
  // Renders a volume and returns it.
  static std::string Render(ModelRegistry& registry, const std::shared_ptr<ServableModel>& model) {
    auto lease = registry.Pin(model, 0);
    EXPECT_TRUE(lease.ok()) << lease.status();
    const auto latent = model::LatentFromSeed(1, 16);
    model::SynthesisInput input;
    input.latent = *latent;
    std::string bytes;
    EXPECT_TRUE(lease->synthesizer()
                    .Synthesize(input, model::OutputKind::kStored,
                                [&bytes](const model::Slab& slab) {
                                  bytes.append(reinterpret_cast<const char*>(slab.stored.data()),
                                               slab.stored.size() * 2);
                                  return absl::OkStatus();
                                })
                    .ok());
    return bytes;
  }

  TemporaryFolder folder_;
};

TEST_F(ModelRegistryTest, AMissingRepositoryIsNamed) {
  RegistryOptions options;
  options.repository = "/no/such/folder";
  const auto registry = ModelRegistry::Create(std::move(options));
  EXPECT_EQ(registry.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(registry.status().message()), HasSubstr("/no/such/folder"));
}

TEST_F(ModelRegistryTest, ListsOnlyWhatIsNamedLikeAVersion) {
  WriteTestModel(folder_.path(), {"tiny", 3});
  fs::create_directories(folder_.path() + "/tiny/007");
  fs::create_directories(folder_.path() + "/tiny/-1");
  fs::create_directories(folder_.path() + "/tiny/latest");
  fs::create_directories(folder_.path() + "/tiny/4.partial-1-1");
  fs::create_directories(folder_.path() + "/.hidden/1");
  fs::create_directories(folder_.path() + "/empty");
  const auto listing = ListRepository(folder_.path());
  ASSERT_TRUE(listing.ok());
  ASSERT_EQ(listing->size(), 1u);
  EXPECT_EQ(listing->at("tiny").versions.size(), 1u);
}

TEST_F(ModelRegistryTest, ChoosesStableElseTheNewestThatAnswers) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  WriteTestModel(folder_.path(), {"tiny", 2, 2});
  Spoil("tiny/3", "config.json", "{}");
  const auto registry = Open();
  EXPECT_EQ((*registry->Select({"tiny", 0, ""}))->version, 2);
  ASSERT_TRUE(registry->SetLabel("tiny", "stable", 1).ok());
  EXPECT_EQ((*registry->Select({"tiny", 0, ""}))->version, 1);
  EXPECT_EQ((*registry->Select({"tiny", 2, ""}))->version, 2);
  ASSERT_TRUE(registry->SetLabel("tiny", "canary", 2).ok());
  EXPECT_EQ((*registry->Select({"tiny", 0, "canary"}))->version, 2);
  ASSERT_TRUE(registry->SetLabel("tiny", "canary", 0).ok());
  EXPECT_EQ(ReasonOf(registry->Select({"tiny", 0, "canary"}).status()), "MODEL_LABEL_NOT_FOUND");
  EXPECT_EQ(ReasonOf(registry->SetLabel("tiny", "x", 9)), "MODEL_VERSION_NOT_FOUND");
  // What was set is on disk.
  EXPECT_EQ((*Open()->Select({"tiny", 0, ""}))->version, 1);
}

TEST_F(ModelRegistryTest, ABrokenLabelsFileLeavesTheOldLabels) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  WriteTestModel(folder_.path(), {"tiny", 2, 2});
  const auto registry = Open();
  ASSERT_TRUE(registry->SetLabel("tiny", "stable", 1).ok());
  for (const char* broken : {"{", "[]", "{\"stable\": \"2\"}", "{\"a/b\": 1}", "{\"stable\": -1}",
                             "{\"stable\": 1.5}"}) {
    std::ofstream(folder_.path() + "/tiny/labels.json", std::ios::trunc) << broken;
    registry->Poll();
    EXPECT_EQ((*registry->Select({"tiny", 0, ""}))->version, 1) << broken;
  }
}

TEST_F(ModelRegistryTest, ABadVersionIsRefusedWithItsReasonWhileTheOldServes) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  const auto registry = Open();
  Spoil("tiny/2", "config.json", "not json");
  Spoil("tiny/2", "model.safetensors", "12345678");
  registry->Poll();
  const auto bad = registry->Describe({"tiny", 2, ""});
  ASSERT_TRUE(bad.ok());
  EXPECT_EQ(bad->state, VersionState::kFailed);
  EXPECT_THAT(bad->reason, HasSubstr("config.json"));
  EXPECT_EQ(bad->reason.find(folder_.path()), std::string::npos) << bad->reason;
  EXPECT_EQ(registry->Select({"tiny", 2, ""}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*registry->Select({"tiny", 0, ""}))->version, 1);
  // Repaired, it is taken.
  WriteTestModel(folder_.path(), {"tiny", 2, 2});
  registry->Poll();
  EXPECT_EQ((*registry->Select({"tiny", 0, ""}))->version, 2);
}

TEST_F(ModelRegistryTest, ABadReplacementLeavesTheOldGeneration) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  const auto registry = Open();
  const auto before = *registry->Select({"tiny", 1, ""});
  WriteTestModel(folder_.path(), {"tiny", 1, 2});
  fs::resize_file(folder_.path() + "/tiny/1/model.safetensors", 1000);
  registry->Poll();
  const auto info = registry->Describe({"tiny", 1, ""});
  EXPECT_EQ(info->state, VersionState::kReady);
  EXPECT_THAT(info->reason, HasSubstr("replacement refused"));
  EXPECT_EQ(info->servable, before);
}

TEST_F(ModelRegistryTest, AReplacedVersionIsANewGenerationAndTheOldOneFinishes) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  const auto registry = Open();
  const auto old = *registry->Select({"tiny", 1, ""});
  const std::string old_volume = Render(*registry, old);
  WriteTestModel(folder_.path(), {"tiny", 1, 2});
  registry->Poll();
  const auto fresh = *registry->Select({"tiny", 1, ""});
  EXPECT_NE(old->digest, fresh->digest);
  EXPECT_TRUE(Render(*registry, old) == old_volume);
  EXPECT_FALSE(Render(*registry, fresh) == old_volume);
}

TEST_F(ModelRegistryTest, AVanishedVersionIsDroppedAndItsHoldersFinish) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  const auto registry = Open();
  const auto held = *registry->Select({"tiny", 1, ""});
  fs::remove_all(folder_.path() + "/tiny");
  registry->Poll();
  EXPECT_EQ(registry->Select({"tiny", 0, ""}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Render(*registry, held).size(), 64u * 64 * 64 * 2);
}

TEST_F(ModelRegistryTest, UnderABudgetTheLeastRecentlyUsedGoesAndComesBack) {
  for (int64_t version = 1; version <= 3; ++version) {
    WriteTestModel(folder_.path(), {"tiny", version, static_cast<uint64_t>(version)});
  }
  int64_t one = 0;
  {
    const auto unlimited = Open();
    one = unlimited->ResidentBytes(0) / 3;
    EXPECT_EQ(unlimited->ResidentModels(), 3u);
  }
  const auto registry = Open(one * 5 / 2);
  EXPECT_EQ(registry->ResidentModels(), 2u);
  EXPECT_LE(registry->ResidentBytes(0), one * 5 / 2);
  EXPECT_EQ(registry->Describe({"tiny", 1, ""})->state, VersionState::kStandby);
  const auto first = *registry->Select({"tiny", 1, ""});
  EXPECT_EQ(Render(*registry, first).size(), 64u * 64 * 64 * 2);
  EXPECT_EQ(registry->Describe({"tiny", 1, ""})->state, VersionState::kReady);
  EXPECT_EQ(registry->Describe({"tiny", 2, ""})->state, VersionState::kStandby);
  EXPECT_LE(registry->ResidentBytes(0), one * 5 / 2);
}

TEST_F(ModelRegistryTest, AModelInUseIsNeverUnloaded) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  int64_t one = 0;
  { one = Open()->ResidentBytes(0); }
  const auto registry = Open(one * 3 / 2);
  const auto first = *registry->Select({"tiny", 1, ""});
  {
    const auto lease = registry->Pin(first, 0);
    ASSERT_TRUE(lease.ok());
    WriteTestModel(folder_.path(), {"tiny", 2, 2});
    registry->Poll();
    EXPECT_EQ(registry->Describe({"tiny", 1, ""})->state, VersionState::kReady);
    EXPECT_EQ(registry->Describe({"tiny", 2, ""})->state, VersionState::kFailed);
    EXPECT_THAT(registry->Describe({"tiny", 2, ""})->reason, HasSubstr("budget"));
  }
  EXPECT_TRUE(registry->Load("tiny", 2).ok());
  EXPECT_EQ(registry->Describe({"tiny", 1, ""})->state, VersionState::kStandby);
}

TEST_F(ModelRegistryTest, UnloadAndLoadByHand) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  const auto registry = Open();
  ASSERT_TRUE(registry->Unload("tiny", 1).ok());
  EXPECT_EQ(ReasonOf(registry->Select({"tiny", 1, ""}).status()), "MODEL_UNLOADED");
  registry->Poll();
  EXPECT_EQ(registry->Describe({"tiny", 1, ""})->state, VersionState::kUnloaded);
  EXPECT_EQ(registry->ResidentModels(), 0u);
  ASSERT_TRUE(registry->Load("tiny", 1).ok());
  EXPECT_TRUE(registry->Select({"tiny", 1, ""}).ok());
  EXPECT_EQ(registry->Load("tiny", 9).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry->Unload("other", 1).code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelRegistryTest, AFaultOfTheDeviceDropsWhatNobodyRuns) {
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  const auto registry = Open();
  const auto model = *registry->Select({"tiny", 1, ""});
  const std::string volume = Render(*registry, model);
  registry->DropDevice(0);
  EXPECT_EQ(registry->ResidentModels(), 0u);
  EXPECT_TRUE(Render(*registry, model) == volume);
}

// Returns resident memory of this process in bytes.
int64_t ResidentSetBytes() {
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * 4096;
}

TEST_F(ModelRegistryTest, TwoHundredReloadsDoNotGrow) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory resident";
#endif
  WriteTestModel(folder_.path(), {"tiny", 1, 1});
  const auto registry = Open();
  const auto reload = [&] { ASSERT_TRUE(registry->Load("tiny", 1).ok()); };
  for (int i = 0; i < 20; ++i) reload();
  const int64_t before = ResidentSetBytes();
  for (int i = 0; i < 200; ++i) reload();
  EXPECT_LT(ResidentSetBytes() - before, 8 << 20);
  EXPECT_EQ(registry->ResidentModels(), 1u);
}

}  // namespace
}  // namespace synthvol::server
