// The client library against a server that misbehaves: each fault with what the client makes of it.
#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/checksum.h"
#include "tests/client/fake_server.h"

namespace synthvol::client {
namespace {

using ::testing::HasSubstr;

constexpr int kSide = 16;
constexpr uint64_t kBytes = 2ULL * kSide * kSide * kSide;
constexpr uint64_t kSliceBytes = 2ULL * kSide * kSide;

ClientOptions OptionsFor(const std::vector<std::string>& endpoints) {
  ClientOptions options;
  options.endpoints = endpoints;
  options.retry.initial_backoff = absl::Milliseconds(2);
  options.retry.max_backoff = absl::Milliseconds(20);
  options.retry.max_attempts = 4;
  return options;
}

std::unique_ptr<Client> MakeClient(const std::vector<std::string>& endpoints) {
  auto client = Client::Create(OptionsFor(endpoints));
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

v1::SynthesizeRequest Request(uint64_t seed, uint32_t count,
                              v1::VolumeFormat format = v1::VOLUME_FORMAT_INT16,
                              v1::VolumeDigest digest = v1::VOLUME_DIGEST_UNSPECIFIED) {
  v1::SynthesizeRequest request;
  request.mutable_model()->set_name("fake");
  request.set_seed(seed);
  request.set_count(count);
  request.set_format(format);
  request.set_digest(digest);
  return request;
}

void ExpectVolumes(const std::vector<ReceivedVolume>& volumes, uint64_t seed, size_t count,
                   const std::string& build = "fake+1") {
  ASSERT_EQ(volumes.size(), count);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(volumes[i].header.seed(), seed + i);
    EXPECT_EQ(volumes[i].data, FakeVolume(seed + i, build, kBytes)) << "seed " << seed + i;
    EXPECT_EQ(volumes[i].sha256, Sha256Hex(volumes[i].data));
  }
}

TEST(ClientTest, ListsAndGetsModels) {
  FakeServer server({});
  const auto client = MakeClient({server.address()});
  const auto models = client->ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  ASSERT_EQ(models->size(), 1u);
  EXPECT_EQ(models->front().size(), kSide);
  v1::ModelSelector selector;
  selector.set_name("other");
  const auto missing = client->GetModel(selector);
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("'other'"));
}

TEST(ClientTest, ChecksTheCrc32cOfAVolumeWhenThatIsTheDigest) {
  constexpr v1::VolumeDigest kCrc32c = v1::VOLUME_DIGEST_CRC32C;
  FakeServer server({});
  const auto client = MakeClient({server.address()});
  const auto raw = client->SynthesizeToMemory(Request(40, 2, v1::VOLUME_FORMAT_INT16, kCrc32c));
  ASSERT_TRUE(raw.ok()) << raw.status();
  ASSERT_EQ(raw->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*raw)[i].data, FakeVolume(40 + i, "fake+1", kBytes));
    EXPECT_EQ((*raw)[i].sha256, "");
  }
  // Across a broken stream, files and all.
  server.Plan({FaultKind::kBreak, kBytes / 2, grpc::StatusCode::UNAVAILABLE, -1});
  const auto dicom = client->SynthesizeToMemory(Request(7, 1, v1::VOLUME_FORMAT_DICOM, kCrc32c));
  ASSERT_TRUE(dicom.ok()) << dicom.status();
  EXPECT_EQ(dicom->front().files[5].second, FakeDicomFile(7, "fake+1", 5));
  EXPECT_EQ(dicom->front().sha256, "");

  for (int i = 0; i < 4; ++i) server.Plan({FaultKind::kCorruptSha, 0, grpc::StatusCode::OK, -1});
  const auto damaged = client->SynthesizeToMemory(Request(5, 1, v1::VOLUME_FORMAT_INT16, kCrc32c));
  EXPECT_TRUE(absl::IsDataLoss(damaged.status())) << damaged.status();
  EXPECT_THAT(std::string(damaged.status().message()), HasSubstr("CRC32C of volume 0"));
}

TEST(ClientTest, ReceivesVolumesOfEveryFormat) {
  FakeServer server({});
  const auto client = MakeClient({server.address()});
  const auto raw = client->SynthesizeToMemory(Request(40, 3));
  ASSERT_TRUE(raw.ok()) << raw.status();
  ExpectVolumes(*raw, 40, 3);
  const auto floats = client->SynthesizeToMemory(Request(40, 1, v1::VOLUME_FORMAT_FLOAT32));
  ASSERT_TRUE(floats.ok()) << floats.status();
  EXPECT_EQ(floats->front().data.size(), 2 * kBytes);
  const auto dicom = client->SynthesizeToMemory(Request(7, 2, v1::VOLUME_FORMAT_DICOM));
  ASSERT_TRUE(dicom.ok()) << dicom.status();
  ASSERT_EQ(dicom->size(), 2u);
  ASSERT_EQ(dicom->back().files.size(), static_cast<size_t>(kSide));
  EXPECT_EQ(dicom->back().files[5].first, "IM0006.dcm");
  EXPECT_EQ(dicom->back().files[5].second, FakeDicomFile(8, "fake+1", 5));
}

// The table of faults that a retry cures: one stream is hurt, the volumes are still right.
class CurableFaultTest : public ::testing::TestWithParam<Fault> {};

TEST_P(CurableFaultTest, VolumesAreRightAfterwards) {
  for (const uint64_t after :
       {uint64_t{0}, uint64_t{1}, kSliceBytes, kBytes / 2 + 7, kBytes - 1, kBytes + 99}) {
    FakeServer server({});
    Fault fault = GetParam();
    fault.after_bytes = after;
    server.Plan(fault);
    const auto client = MakeClient({server.address()});
    const auto volumes = client->SynthesizeToMemory(Request(5, 2));
    ASSERT_TRUE(volumes.ok()) << volumes.status() << " after " << after;
    ExpectVolumes(*volumes, 5, 2);
    EXPECT_GE(server.requests().size(), 2u) << "the fault did not strike after " << after;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Faults, CurableFaultTest,
    ::testing::Values(Fault{FaultKind::kBreak, 0, grpc::StatusCode::UNAVAILABLE, -1},
                      Fault{FaultKind::kBreak, 0, grpc::StatusCode::INTERNAL, -1},
                      Fault{FaultKind::kBreak, 0, grpc::StatusCode::UNKNOWN, -1},
                      Fault{FaultKind::kBreak, 0, grpc::StatusCode::ABORTED, -1},
                      // What gRPC answers to a call that reaches a server while it shuts down.
                      Fault{FaultKind::kBreak, 0, grpc::StatusCode::CANCELLED, -1},
                      Fault{FaultKind::kBreak, 0, grpc::StatusCode::RESOURCE_EXHAUSTED, 0.01},
                      Fault{FaultKind::kEndEarly}, Fault{FaultKind::kCorruptCrc},
                      Fault{FaultKind::kCorruptSha}, Fault{FaultKind::kSkipChunk}),
    [](const auto& test) { return "Case" + std::to_string(test.index); });

// The table of errors that no retry cures: one call, the server's code and words.
class FinalErrorTest : public ::testing::TestWithParam<grpc::StatusCode> {};

TEST_P(FinalErrorTest, IsReportedAtOnce) {
  FakeServer server({});
  server.Plan({FaultKind::kBreak, 600, GetParam(), -1});
  const auto client = MakeClient({server.address()});
  const auto volumes = client->SynthesizeToMemory(Request(5, 1));
  EXPECT_EQ(static_cast<int>(volumes.status().code()), static_cast<int>(GetParam()));
  EXPECT_THAT(std::string(volumes.status().message()), HasSubstr("planned fault"));
  EXPECT_EQ(server.requests().size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Codes, FinalErrorTest,
    ::testing::Values(grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::NOT_FOUND,
                      grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::PERMISSION_DENIED,
                      grpc::StatusCode::FAILED_PRECONDITION, grpc::StatusCode::OUT_OF_RANGE,
                      grpc::StatusCode::DEADLINE_EXCEEDED,
                      // Without RetryInfo.
                      grpc::StatusCode::RESOURCE_EXHAUSTED),
    [](const auto& test) { return "Code" + std::to_string(test.param); });

// Lies in headers and names that would hurt whoever believed them.
class HostileServerTest : public ::testing::TestWithParam<FaultKind> {};

TEST_P(HostileServerTest, IsNotBelieved) {
  FakeServer server({});
  for (int i = 0; i < 10; ++i) server.Plan({GetParam(), 0, grpc::StatusCode::OK, -1});
  const auto client = MakeClient({server.address()});
  const auto format =
      GetParam() == FaultKind::kEvilFileName ? v1::VOLUME_FORMAT_DICOM : v1::VOLUME_FORMAT_INT16;
  const auto volumes = client->SynthesizeToMemory(Request(5, 1, format));
  EXPECT_TRUE(absl::IsDataLoss(volumes.status())) << volumes.status();
  EXPECT_THAT(std::string(volumes.status().message()), HasSubstr("given up after 4 attempts"));
  EXPECT_EQ(server.requests().size(), 4u);
}

INSTANTIATE_TEST_SUITE_P(Lies, HostileServerTest,
                         ::testing::Values(FaultKind::kWrongSeed, FaultKind::kHugeGeometry,
                                           FaultKind::kEvilFileName, FaultKind::kCorruptSha),
                         [](const auto& test) { return "Lie" + std::to_string(test.index); });

TEST(ClientTest, ResumesAtTheLastWholeSliceWithTheVersionPinned) {
  FakeServer server({});
  server.Plan({FaultKind::kBreak, kBytes + 3 * kSliceBytes + 1, grpc::StatusCode::UNAVAILABLE, -1});
  const auto client = MakeClient({server.address()});
  const auto volumes = client->SynthesizeToMemory(Request(5, 3));
  ASSERT_TRUE(volumes.ok()) << volumes.status();
  ExpectVolumes(*volumes, 5, 3);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[1].start_volume(), 1u);
  // The chunk that crossed the mark had arrived whole, with it slice 3 and some of slice 4 or 5.
  EXPECT_GE(requests[1].start_slice(), 3u);
  EXPECT_LE(requests[1].start_slice(), 6u);
  EXPECT_FALSE(requests[0].model().has_version());
  EXPECT_EQ(requests[1].model().version(), 3);
}

TEST(ClientTest, IsDoneOnceTheLastTrailerIsHereHoweverTheStreamEnds) {
  FakeServer server({});
  server.Plan({FaultKind::kBreak, 2 * kBytes, grpc::StatusCode::UNAVAILABLE, -1});
  const auto client = MakeClient({server.address()});
  const auto volumes = client->SynthesizeToMemory(Request(5, 2));
  ASSERT_TRUE(volumes.ok()) << volumes.status();
  ExpectVolumes(*volumes, 5, 2);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(ClientTest, ManyVolumesThroughAServerThatKeepsBreaking) {
  FakeServerOptions options;
  options.break_probability = 0.04;
  FakeServer server(options);
  const auto client = MakeClient({server.address()});
  for (const auto format : {v1::VOLUME_FORMAT_INT16, v1::VOLUME_FORMAT_DICOM}) {
    const auto volumes = client->SynthesizeToMemory(Request(1000, 200, format));
    ASSERT_TRUE(volumes.ok()) << volumes.status();
    if (format == v1::VOLUME_FORMAT_INT16) {
      ExpectVolumes(*volumes, 1000, 200);
      continue;
    }
    ASSERT_EQ(volumes->size(), 200u);
    for (size_t i = 0; i < 200; ++i) {
      ASSERT_EQ((*volumes)[i].files.size(), static_cast<size_t>(kSide));
      for (uint32_t slice = 0; slice < kSide; ++slice) {
        ASSERT_EQ((*volumes)[i].files[slice].second, FakeDicomFile(1000 + i, "fake+1", slice));
      }
    }
  }
  EXPECT_GT(server.requests().size(), 100u);
}

TEST(ClientTest, FailsOverAndRestartsTheVolumeOnAnotherBuild) {
  FakeServer first({});
  FakeServerOptions other;
  other.build = "fake+2";
  FakeServer second(other);
  first.Plan({FaultKind::kBreak, kBytes + kBytes / 2, grpc::StatusCode::UNAVAILABLE, -1});
  const auto client = MakeClient({first.address(), second.address()});
  const auto volumes = client->SynthesizeToMemory(Request(9, 3));
  ASSERT_TRUE(volumes.ok()) << volumes.status();
  ASSERT_EQ(volumes->size(), 3u);
  // The first was whole on build 1; the second was begun there and made anew on build 2.
  EXPECT_EQ((*volumes)[0].data, FakeVolume(9, "fake+1", kBytes));
  EXPECT_EQ((*volumes)[1].data, FakeVolume(10, "fake+2", kBytes));
  EXPECT_EQ((*volumes)[1].header.build(), "fake+2");
  EXPECT_EQ((*volumes)[2].data, FakeVolume(11, "fake+2", kBytes));
}

TEST(ClientTest, PassesOverADeadEndpointAndTakesTheOthersInTurn) {
  auto dead = std::make_unique<FakeServer>(FakeServerOptions{});
  const std::string dead_address = dead->address();
  dead.reset();
  FakeServer first({});
  FakeServer second({});
  const auto client = MakeClient({dead_address, first.address(), second.address()});
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const auto volumes = client->SynthesizeToMemory(Request(seed, 1));
    ASSERT_TRUE(volumes.ok()) << volumes.status();
    ExpectVolumes(*volumes, seed, 1);
  }
  EXPECT_GE(first.requests().size(), 3u);
  EXPECT_GE(second.requests().size(), 3u);
  EXPECT_EQ(first.requests().size() + second.requests().size(), 12u);
}

TEST(ClientTest, ReportsAServerThatIsNotThere) {
  auto dead = std::make_unique<FakeServer>(FakeServerOptions{});
  const std::string address = dead->address();
  dead.reset();
  const auto client = MakeClient({address});
  const auto models = client->ListModels();
  EXPECT_TRUE(absl::IsUnavailable(models.status())) << models.status();
}

TEST(ClientTest, WaitsAsLongAsRetryInfoSays) {
  FakeServer server({});
  server.Plan({FaultKind::kBreak, 0, grpc::StatusCode::RESOURCE_EXHAUSTED, 0.3});
  const auto client = MakeClient({server.address()});
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(client->SynthesizeToMemory(Request(5, 1)).ok());
  // A pause may be longer on a busy machine, never shorter: a lower bound is not a race.
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(300));
}

TEST(ClientTest, DoesNotWaitPastTheDeadline) {
  FakeServer server({});
  server.Plan({FaultKind::kBreak, 0, grpc::StatusCode::RESOURCE_EXHAUSTED, 0.9});
  const auto client = MakeClient({server.address()});
  CallOptions call;
  call.timeout = absl::Milliseconds(500);
  const auto volumes = client->SynthesizeToMemory(Request(5, 1), call);
  EXPECT_TRUE(absl::IsDeadlineExceeded(volumes.status())) << volumes.status();
  EXPECT_THAT(std::string(volumes.status().message()), HasSubstr("planned fault"));
}

TEST(ClientTest, DeadlineEndsAHangingStream) {
  FakeServer server({});
  server.Plan({FaultKind::kHang, kSliceBytes, grpc::StatusCode::OK, -1});
  const auto client = MakeClient({server.address()});
  CallOptions call;
  call.timeout = absl::Milliseconds(300);
  const auto volumes = client->SynthesizeToMemory(Request(5, 1), call);
  EXPECT_TRUE(absl::IsDeadlineExceeded(volumes.status())) << volumes.status();
}

TEST(ClientTest, CancelEndsAHangingStreamAndTheServerNotices) {
  FakeServer server({});
  server.Plan({FaultKind::kHang, kSliceBytes, grpc::StatusCode::OK, -1});
  const auto client = MakeClient({server.address()});
  Cancellation cancellation;
  CallOptions call;
  call.cancellation = &cancellation;
  absl::Status status;
  std::thread thread([&] { status = client->SynthesizeToMemory(Request(5, 1), call).status(); });
  while (server.requests().empty()) absl::SleepFor(absl::Milliseconds(2));
  cancellation.Cancel();
  thread.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  while (server.cancelled_calls() == 0) absl::SleepFor(absl::Milliseconds(2));
  // Cancelled stays cancelled.
  EXPECT_TRUE(absl::IsCancelled(client->ListModels(call).status()));
}

// Refuses at some point.
class RefusingSink : public MemorySink {
 public:
  absl::Status Data(const VolumeData& data) override {
    if (data.slice_index >= 4) return absl::ResourceExhaustedError("disk full");
    return MemorySink::Data(data);
  }
};

TEST(ClientTest, ASinksErrorEndsTheCallWithoutRetry) {
  FakeServer server({});
  const auto client = MakeClient({server.address()});
  RefusingSink sink;
  const absl::Status status = client->Synthesize(Request(5, 1), sink);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(), "disk full");
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(ClientTest, ContinuesWhatTheCallerHas) {
  FakeServer server({});
  const auto client = MakeClient({server.address()});
  v1::SynthesizeRequest request = Request(5, 2);
  request.set_start_volume(1);
  request.set_start_slice(10);
  CallOptions call;
  call.resume_from = VolumeIdentity{std::string(64, 'a'), "fake+1", "cpu"};
  const auto rest = client->SynthesizeToMemory(request, call);
  ASSERT_TRUE(rest.ok()) << rest.status();
  ASSERT_EQ(rest->size(), 1u);
  EXPECT_EQ(rest->front().header.start_slice(), 10u);
  EXPECT_EQ(rest->front().data, FakeVolume(6, "fake+1", kBytes).substr(10 * kSliceBytes));
  // Another build: the volume comes whole.
  call.resume_from->build = "fake+0";
  const auto whole = client->SynthesizeToMemory(request, call);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->front().header.start_slice(), 0u);
  EXPECT_EQ(whole->front().data, FakeVolume(6, "fake+1", kBytes));
}

TEST(ClientTest, SendsTheTokenAndReadsItsFileAnew) {
  FakeServerOptions server_options;
  server_options.token = "second";
  FakeServer server(server_options);
  const std::string path = ::testing::TempDir() + "/client_test_token";
  std::ofstream(path) << "first\n";
  ClientOptions options = OptionsFor({server.address()});
  options.token_file = path;
  const auto client = Client::Create(options);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(absl::IsUnauthenticated((*client)->ListModels().status()));
  std::ofstream(path) << "second\n";
  EXPECT_TRUE((*client)->ListModels().ok());
}

TEST(ClientTest, ManyThreadsShareOneClient) {
  FakeServerOptions options;
  options.break_probability = 0.02;
  FakeServer server(options);
  const auto client = MakeClient({server.address()});
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      const auto volumes = client->SynthesizeToMemory(Request(100 * t, 5));
      if (!volumes.ok() || volumes->size() != 5) return;
      for (uint64_t i = 0; i < 5; ++i) {
        right += (*volumes)[i].data == FakeVolume(100 * t + i, "fake+1", kBytes) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 30);
}

struct BadOptions {
  const char* what;
  std::function<void(ClientOptions&)> change;
  const char* message;
};

TEST(ClientTest, BadOptionsAreRefusedByName) {
  const BadOptions cases[] = {
      {"none", [](ClientOptions& o) { o.endpoints.clear(); }, "at least one HOST:PORT"},
      {"port", [](ClientOptions& o) { o.endpoints = {"host"}; }, "'host': expected HOST:PORT"},
      {"big port", [](ClientOptions& o) { o.endpoints = {"host:70000"}; }, "1..65535"},
      {"url", [](ClientOptions& o) { o.endpoints = {"http://host:1"}; }, "expected HOST:PORT"},
      {"ca",
       [](ClientOptions& o) {
         o.tls = {true, "/no/such/ca.pem", "", "", ""};
       },
       "/no/such/ca.pem"},
      {"half a pair",
       [](ClientOptions& o) {
         o.tls = {true, "", "/a.pem", "", ""};
       },
       "go together"},
      {"token file", [](ClientOptions& o) { o.token_file = "/no/such/token"; }, "/no/such/token"},
      {"token", [](ClientOptions& o) { o.token = "a b"; }, "without spaces"},
      {"attempts", [](ClientOptions& o) { o.retry.max_attempts = 0; }, "at least 1"},
  };
  for (const BadOptions& bad : cases) {
    ClientOptions options = OptionsFor({"127.0.0.1:1"});
    bad.change(options);
    const auto client = Client::Create(options);
    EXPECT_FALSE(client.ok()) << bad.what;
    EXPECT_THAT(std::string(client.status().message()), HasSubstr(bad.message)) << bad.what;
  }
}

}  // namespace
}  // namespace synthvol::client
