#include "base/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>

namespace synthvol {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("atomic-" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  size_t EntryCount() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }
  fs::path folder_;
};

TEST_F(AtomicFileTest, AppearsOnlyAtCommit) {
  auto file = AtomicFile::Create(Path("a"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Append("0000tail").ok());
  ASSERT_TRUE(file->WriteAt(0, "head").ok());
  EXPECT_FALSE(fs::exists(Path("a")));
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(*ReadFile(Path("a")), "headtail");
  EXPECT_EQ(EntryCount(), 1U);
}

TEST_F(AtomicFileTest, LeavesNothingBehindWhenAbandoned) {
  { ASSERT_TRUE(AtomicFile::Create(Path("a"))->Append("x").ok()); }
  EXPECT_EQ(EntryCount(), 0U);
}

TEST_F(AtomicFileTest, KeepsTheOldFileWhenTheDiskIsFull) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "old").ok());
  // A file size limit stands in for a full disk: the same call fails, with EFBIG.
  signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  rlimit limit = old_limit;
  limit.rlim_cur = 1000;
  setrlimit(RLIMIT_FSIZE, &limit);
  const absl::Status status = WriteFileAtomically(Path("a"), std::string(5000, 'x'));
  setrlimit(RLIMIT_FSIZE, &old_limit);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_NE(status.message().find(Path("a")), std::string::npos);
  EXPECT_EQ(*ReadFile(Path("a")), "old");
  EXPECT_EQ(EntryCount(), 1U);
}

TEST_F(AtomicFileTest, NamesAFolderThatIsMissing) {
  const auto file = AtomicFile::Create(Path("no/such/file"));
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AtomicFileTest, DirectoryAppearsWholeAndIsRefusedWhenItExists) {
  {
    auto directory = AtomicDirectory::Create(Path("d/"));
    ASSERT_TRUE(directory.ok()) << directory.status();
    ASSERT_TRUE(WriteFileAtomically(directory->temporary_path() + "/f", "x").ok());
    EXPECT_FALSE(fs::exists(Path("d")));
    ASSERT_TRUE(directory->Commit().ok());
  }
  EXPECT_EQ(*ReadFile(Path("d/f")), "x");
  EXPECT_EQ(AtomicDirectory::Create(Path("d")).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(EntryCount(), 1U);
}

TEST_F(AtomicFileTest, RefusesToReadMoreThanAllowed) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "12345").ok());
  EXPECT_TRUE(ReadFile(Path("a"), 5).ok());
  EXPECT_EQ(ReadFile(Path("a"), 4).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace synthvol
