// Streams over a real server: form, determinism, resume, cancellation, deadlines, slow readers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "model/synthesizer.h"
#include "tests/server/testing/test_server.h"

namespace synthvol::server {
namespace {

using grpc::StatusCode;

constexpr size_t kVoxels = 64 * 64 * 64;

// Waits until nothing is open in the scheduler; fails the test when it never is.
void ExpectIdle(TestServer& server) {
  EXPECT_TRUE(server.server().scheduler().AwaitIdle(absl::Now() + absl::Seconds(20)));
  EXPECT_EQ(server.server().scheduler().Snapshot().bytes, 0u);
}

// Waits until `condition` holds, at most 20 seconds, and returns whether it does. The handler
// counts a call after its caller has the status and the worker is free, so counters follow both.
bool Eventually(const std::function<bool()>& condition) {
  const absl::Time limit = absl::Now() + absl::Seconds(20);
  while (!condition() && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(1));
  return condition();
}

// The stored bytes of a seed of "tiny".
std::string Render(model::Synthesizer& synthesizer, uint64_t seed, model::Precision precision) {
  const auto latent = model::LatentFromSeed(seed, 16);
  model::SynthesisInput input;
  input.latent = *latent;
  input.precision = precision;
  std::string bytes;
  const absl::Status status =
      synthesizer.Synthesize(input, model::OutputKind::kStored, [&bytes](const model::Slab& slab) {
        bytes.append(reinterpret_cast<const char*>(slab.stored.data()),
                     slab.stored.size() * sizeof(int16_t));
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  return bytes;
}

class StreamsTest : public ::testing::Test {
 protected:
  TestServer server_;
};

TEST_F(StreamsTest, ListsAndDescribesModels) {
  grpc::ClientContext list_context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(server_.synthesis().ListModels(&list_context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  EXPECT_EQ(list.models(0).state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(list.models(0).digest().size(), 64u);
  EXPECT_EQ(list.models(0).size(), 64);
  EXPECT_EQ(list.models(0).spacing_mm(2), 2.0);

  grpc::ClientContext get_context;
  v1::GetModelRequest request;
  request.mutable_model()->set_name("tiny");
  v1::GetModelResponse response;
  ASSERT_TRUE(server_.synthesis().GetModel(&get_context, request, &response).ok());
  EXPECT_EQ(response.model().SerializeAsString(), list.models(0).SerializeAsString());
}

TEST_F(StreamsTest, SendsTheVoxelsThatTheModelMakes) {
  const Received received = Synthesize(server_.synthesis(), PlainRequest(42));
  ASSERT_TRUE(received.status.ok()) << received.status.error_message();
  ASSERT_EQ(received.fault, "");
  ASSERT_EQ(received.volumes.size(), 1u);

  const auto synthesizer = model::Synthesizer::Load(server_.repository() + "/tiny/1", {});
  ASSERT_TRUE(synthesizer.ok());
  EXPECT_TRUE(received.volumes[0] == Render(**synthesizer, 42, model::Precision::kFp32));
  const v1::VolumeHeader& header = received.headers[0];
  EXPECT_EQ(header.seed(), 42u);
  EXPECT_EQ(header.model_digest(), (*synthesizer)->digest());
  EXPECT_EQ(header.total_bytes(), kVoxels * 2);
  EXPECT_EQ(header.geometry().spacing_mm(2), 2.0);
  EXPECT_EQ(header.device_class(), "cpu");
  EXPECT_EQ(header.precision(), v1::PRECISION_FP32);
  EXPECT_NE(header.request_id(), "");
}

// models.cpu_bf16, on a CPU that has it; hostile_requests_test.cc has the refusal.
TEST(StreamsInBf16, SendsTheVoxelsThatTheModelMakes) {
  TestServer server([](v1::ServerConfig& config) { config.mutable_models()->set_cpu_bf16(true); });
  model::SynthesizerOptions options;
  options.cpu_bf16 = true;
  const auto synthesizer = model::Synthesizer::Load(server.repository() + "/tiny/1", options);
  ASSERT_TRUE(synthesizer.ok());
  v1::SynthesizeRequest request = PlainRequest(42);
  request.set_precision(v1::PRECISION_BF16);
  const Received received = Synthesize(server.synthesis(), request);
  const absl::Status here = (*synthesizer)->CheckPrecision(model::Precision::kBf16);
  if (!here.ok()) {
    EXPECT_EQ(received.status.error_code(), StatusCode::INVALID_ARGUMENT);
    GTEST_SKIP() << here.message();
  }
  ASSERT_TRUE(received.status.ok()) << received.status.error_message();
  EXPECT_EQ(received.headers.at(0).precision(), v1::PRECISION_BF16);
  const std::string rounded = Render(**synthesizer, 42, model::Precision::kBf16);
  EXPECT_TRUE(received.volumes.at(0) == rounded);
  EXPECT_FALSE(rounded == Render(**synthesizer, 42, model::Precision::kFp32));
  // A request that names no precision is not changed by the switch.
  EXPECT_EQ(Synthesize(server.synthesis(), PlainRequest(42)).headers.at(0).precision(),
            v1::PRECISION_FP32);
}

TEST_F(StreamsTest, ABatchIsTheVolumesOfItsSeeds) {
  const Received batch = Synthesize(server_.synthesis(), PlainRequest(7, 5));
  ASSERT_TRUE(batch.status.ok());
  ASSERT_EQ(batch.volumes.size(), 5u);
  EXPECT_EQ(batch.fault, "");
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(batch.headers[i].volume_index(), i);
    EXPECT_EQ(batch.headers[i].seed(), 7 + i);
    const Received single = Synthesize(server_.synthesis(), PlainRequest(7 + i));
    EXPECT_TRUE(single.volumes.at(0) == batch.volumes[i]) << i;
  }
  EXPECT_FALSE(batch.volumes[0] == batch.volumes[1]);
}

TEST_F(StreamsTest, FloatIsTheSameVolumeBeforeTheWindow) {
  v1::SynthesizeRequest request = PlainRequest(3);
  request.set_format(v1::VOLUME_FORMAT_FLOAT32);
  const Received unit = Synthesize(server_.synthesis(), request);
  const Received stored = Synthesize(server_.synthesis(), PlainRequest(3));
  ASSERT_EQ(unit.volumes.at(0).size(), kVoxels * 4);
  const auto* floats = reinterpret_cast<const float*>(unit.volumes[0].data());
  const auto* integers = reinterpret_cast<const int16_t*>(stored.volumes.at(0).data());
  const imaging::Window window;
  for (size_t i = 0; i < kVoxels; ++i) ASSERT_EQ(window.ToStored(floats[i]), integers[i]) << i;
}

TEST_F(StreamsTest, SeedLatentAndMixAgree) {
  const Received by_seed = Synthesize(server_.synthesis(), PlainRequest(11));
  v1::SynthesizeRequest request = PlainRequest();
  const auto latent = model::LatentFromSeed(11, 16);
  request.mutable_latent()->mutable_values()->Add(latent->begin(), latent->end());
  EXPECT_TRUE(Synthesize(server_.synthesis(), request).volumes.at(0) == by_seed.volumes.at(0));
  request.mutable_mix()->set_seed_a(11);
  request.mutable_mix()->set_seed_b(12);
  EXPECT_TRUE(Synthesize(server_.synthesis(), request).volumes.at(0) == by_seed.volumes.at(0));
  request.mutable_mix()->set_fraction(0.5);
  EXPECT_FALSE(Synthesize(server_.synthesis(), request).volumes.at(0) == by_seed.volumes.at(0));
}

TEST_F(StreamsTest, ResumeGivesExactlyTheMissingBytes) {
  const Received whole = Synthesize(server_.synthesis(), PlainRequest(5, 3));
  ASSERT_EQ(whole.volumes.size(), 3u);
  const size_t slice = 64 * 64 * 2;
  for (const uint32_t start : {1u, 17u, 63u}) {
    v1::SynthesizeRequest request = PlainRequest(5, 3);
    request.set_start_volume(1);
    request.set_start_slice(start);
    const Received rest = Synthesize(server_.synthesis(), request);
    ASSERT_TRUE(rest.status.ok());
    EXPECT_EQ(rest.fault, "");
    ASSERT_EQ(rest.volumes.size(), 2u);
    EXPECT_EQ(rest.headers[0].start_slice(), start);
    EXPECT_TRUE(rest.volumes[0] == whole.volumes[1].substr(start * slice)) << start;
    EXPECT_TRUE(rest.volumes[1] == whole.volumes[2]);
    EXPECT_EQ(rest.trailers[0].slice_count(), 64 - start);
  }
}

TEST_F(StreamsTest, DicomFilesArriveWholeAndResume) {
  v1::SynthesizeRequest request = PlainRequest(5);
  request.set_format(v1::VOLUME_FORMAT_DICOM);
  const Received whole = Synthesize(server_.synthesis(), request);
  ASSERT_TRUE(whole.status.ok()) << whole.status.error_message();
  EXPECT_EQ(whole.fault, "");
  ASSERT_EQ(whole.files.at(0).size(), 64u);
  for (const auto& [name, bytes] : whole.files[0]) EXPECT_EQ(bytes.substr(128, 4), "DICM") << name;
  request.set_start_slice(60);
  const Received rest = Synthesize(server_.synthesis(), request);
  ASSERT_EQ(rest.files.at(0).size(), 4u);
  for (const auto& [name, bytes] : rest.files[0]) EXPECT_TRUE(whole.files[0].at(name) == bytes);
}

TEST_F(StreamsTest, AnEnhancedFileResumesInItsMiddle) {
  v1::SynthesizeRequest request = PlainRequest(5);
  request.set_format(v1::VOLUME_FORMAT_DICOM);
  request.mutable_dicom()->set_storage(v1::DICOM_STORAGE_ENHANCED);
  const Received whole = Synthesize(server_.synthesis(), request);
  ASSERT_TRUE(whole.status.ok()) << whole.status.error_message();
  ASSERT_EQ(whole.files.at(0).size(), 1u);
  request.set_start_slice(40);
  const Received rest = Synthesize(server_.synthesis(), request);
  ASSERT_TRUE(rest.status.ok()) << rest.status.error_message();
  const std::string& all = whole.volumes.at(0);
  const std::string& tail = rest.volumes.at(0);
  ASSERT_LT(tail.size(), all.size());
  EXPECT_TRUE(all.substr(all.size() - tail.size()) == tail);
}

TEST_F(StreamsTest, TheTrailerHasTheDigestThatIsAskedFor) {
  v1::SynthesizeRequest request = PlainRequest(5);
  request.set_count(2);
  request.set_start_slice(17);
  const Received whole = Synthesize(server_.synthesis(), request);
  for (const auto digest : {v1::VOLUME_DIGEST_SHA256, v1::VOLUME_DIGEST_CRC32C}) {
    request.set_digest(digest);
    // The digests themselves are checked as they come in.
    const Received received = Synthesize(server_.synthesis(), request);
    ASSERT_TRUE(received.status.ok()) << received.status.error_message();
    ASSERT_EQ(received.fault, "");
    EXPECT_EQ(received.volumes, whole.volumes);
    ASSERT_EQ(received.trailers.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(received.trailers[i].sha256(),
                digest == v1::VOLUME_DIGEST_SHA256 ? whole.trailers[i].sha256() : "");
    }
  }
  EXPECT_EQ(whole.trailers[0].sha256().size(), 32u);
}

TEST_F(StreamsTest, ChunksKeepToTheAskedSize) {
  v1::SynthesizeRequest request = PlainRequest(1);
  request.set_format(v1::VOLUME_FORMAT_FLOAT32);
  request.set_max_chunk_bytes(64 << 10);
  grpc::ClientContext context;
  const auto reader = server_.synthesis().Synthesize(&context, request);
  v1::SynthesizeResponse response;
  uint64_t next = 0;
  while (reader->Read(&response)) {
    if (!response.has_chunk()) continue;
    EXPECT_LE(response.chunk().data().size(), 64u << 10);
    EXPECT_EQ(response.chunk().offset(), next);
    EXPECT_EQ(response.chunk().slice_index(), next / (64 * 64 * 4));
    next += response.chunk().data().size();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(next, kVoxels * 4);
}

TEST_F(StreamsTest, ManyCallersGetTheSameBytesAsOne) {
  const Received expected = Synthesize(server_.synthesis(), PlainRequest(1, 4));
  std::vector<std::thread> callers;
  std::atomic<int> equal{0};
  for (int i = 0; i < 12; ++i) {
    callers.emplace_back([&] {
      const Received received = Synthesize(server_.synthesis(), PlainRequest(1, 4));
      if (received.status.ok() && received.volumes == expected.volumes) ++equal;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(equal, 12);
}

TEST_F(StreamsTest, ACancelledCallStopsAndGivesItsMemoryBack) {
  grpc::ClientContext context;
  const auto reader = server_.synthesis().Synthesize(&context, PlainRequest(1, 1000));
  v1::SynthesizeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  ExpectIdle(server_);
  EXPECT_TRUE(Eventually([this] { return !server_.server().metrics().EndedByCode().empty(); }));
  EXPECT_THAT(server_.server().metrics().EndedByCode(),
              ::testing::Contains(::testing::Pair("CANCELLED", 1)));
}

TEST_F(StreamsTest, ADeadlineEndsARunningCall) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const Received received = Synthesize(server_.synthesis(), PlainRequest(1, 1000), &context);
  EXPECT_EQ(received.status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_LT(received.volumes.size(), 1000u);
  ExpectIdle(server_);
}

TEST_F(StreamsTest, WhatExpiresIsNotCalledCancelled) {
  // The caller's timer and ours race for each of these; whoever wins, operators must see deadlines.
  constexpr int kCalls = 30;
  const Scheduler& scheduler = server_.server().scheduler();
  for (int i = 0; i < kCalls; ++i) {
    // Behind another call, a deadline that cannot be met would be refused at once.
    ASSERT_TRUE(
        Eventually([&] { return scheduler.Snapshot().workers.at(0).state == WorkerState::kIdle; }));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(60));
    const grpc::Status status =
        Synthesize(server_.synthesis(), PlainRequest(1, 1000), &context).status;
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  }
  ExpectIdle(server_);
  const auto ended = [this] {
    uint64_t calls = 0;
    for (const auto& [code, count] : server_.server().metrics().EndedByCode()) calls += count;
    return calls;
  };
  EXPECT_TRUE(Eventually([&] { return ended() >= kCalls; }));
  EXPECT_THAT(server_.server().metrics().EndedByCode(),
              ::testing::ElementsAre(::testing::Pair("DEADLINE_EXCEEDED", kCalls)));
}

TEST(QueueTest, WaitingCallsExpireAndCancelWithoutAWorker) {
  TestServer server([](v1::ServerConfig& config) { config.mutable_queue()->set_max_requests(3); });
  // Occupies the only worker; nobody reads, but the volumes fit into its buffer.
  grpc::ClientContext busy_context;
  const auto busy = server.synthesis().Synthesize(&busy_context, PlainRequest(1, 1000));
  v1::SynthesizeResponse response;
  ASSERT_TRUE(busy->Read(&response));

  grpc::ClientContext second_context, third_context;
  const auto second = server.synthesis().Synthesize(&second_context, PlainRequest(1, 1000));
  const auto third = server.synthesis().Synthesize(&third_context, PlainRequest(1, 1000));
  while (server.server().scheduler().Snapshot().open < 3) absl::SleepFor(absl::Milliseconds(1));

  const Received refused = Synthesize(server.synthesis(), PlainRequest(2));
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOfGrpc(refused.status), "QUEUE_FULL");
  EXPECT_GT(RetryDelayOfGrpc(refused.status), 0.0);

  for (grpc::ClientContext* context : {&busy_context, &second_context, &third_context}) {
    context->TryCancel();
  }
  ExpectIdle(server);
  EXPECT_TRUE(Synthesize(server.synthesis(), PlainRequest(2)).status.ok());
}

TEST(SlowReaderTest, IsCutOffAndHoldsBoundedMemoryMeanwhile) {
  constexpr uint64_t kBuffer = 2 << 20;
  TestServer server([](v1::ServerConfig& config) {
    config.mutable_streams()->set_buffer_bytes(kBuffer);
    config.mutable_streams()->mutable_slow_reader_timeout()->set_seconds(3);
  });
  grpc::ClientContext context;
  const auto reader = server.synthesis().Synthesize(&context, PlainRequest(1, 1000));
  v1::SynthesizeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  // It reads no further: the task parks once its buffer is full, and the worker serves others.
  ASSERT_TRUE(Eventually([&] { return server.server().scheduler().Snapshot().parked > 0; }));
  EXPECT_LE(server.server().scheduler().Snapshot().bytes, kBuffer);
  EXPECT_TRUE(Synthesize(server.synthesis(), PlainRequest(2)).status.ok());
  ExpectIdle(server);
  while (reader->Read(&response)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_TRUE(Eventually(
      [&] { return absl::StrContains(server.server().metrics().Text(), "SLOW_READER"); }));
}

TEST(SlowReaderTest, ManyOfThemDoNotHoldUpAFastOne) {
  TestServer server([](v1::ServerConfig& config) {
    config.mutable_streams()->set_buffer_bytes(1 << 20);
    // None is cut off before the last one has stopped reading.
    config.mutable_streams()->mutable_slow_reader_timeout()->set_seconds(3600);
  });
  constexpr int kSlow = 200;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::SynthesizeResponse>>> readers;
  for (int i = 0; i < kSlow; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(server.synthesis().Synthesize(contexts.back().get(), PlainRequest(i, 1000)));
  }
  while (server.server().scheduler().Snapshot().parked < kSlow) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_LE(server.server().scheduler().Snapshot().bytes, uint64_t{kSlow} << 20);
  // On a connection of its own, and beside the slow ones on theirs.
  const auto alone = v1::SynthesisService::NewStub(server.NewChannel());
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(Synthesize(*alone, PlainRequest(i)).status.ok());
    EXPECT_TRUE(Synthesize(server.synthesis(), PlainRequest(i)).status.ok());
  }
  EXPECT_EQ(server.server().scheduler().Snapshot().parked, static_cast<uint32_t>(kSlow));
  for (const auto& context : contexts) context->TryCancel();
  ExpectIdle(server);
}

TEST(DrainTest, FinishesStreamsAndRefusesNewWork) {
  TestServer server;
  grpc::ClientContext context;
  const auto reader = server.synthesis().Synthesize(&context, PlainRequest(1, 20));
  v1::SynthesizeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  server.server().BeginDrain();
  const Received refused = Synthesize(server.synthesis(), PlainRequest(2));
  EXPECT_EQ(refused.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOfGrpc(refused.status), "DRAINING");
  EXPECT_GT(RetryDelayOfGrpc(refused.status), 0.0);
  std::thread stopper([&server] { server.Stop(absl::Seconds(30)); });
  int trailers = 0;
  while (reader->Read(&response)) trailers += response.has_trailer() ? 1 : 0;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(trailers, 20);
  stopper.join();
}

TEST(DrainTest, EndsWhatIsLeftAfterTheGraceTime) {
  TestServer server;
  grpc::ClientContext context;
  const auto reader = server.synthesis().Synthesize(&context, PlainRequest(1, 1000));
  v1::SynthesizeResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::thread stopper([&server] { server.Stop(absl::Milliseconds(50)); });
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << status.error_message();
  stopper.join();
}

}  // namespace
}  // namespace synthvol::server
