// The plausibility gate over a real server: off, tag, redraw, and what each sends.
#include "model/eval/gate/plausibility.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/plausibility_gate.h"
#include "tests/server/testing/test_server.h"

namespace synthvol::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint64_t kSeed = 5;
constexpr int64_t kSize = 64;

// Ranges that allow any figure but `mean`, which must lie in [low, high].
std::string MeanBetween(double low, double high) {
  return absl::StrCat(
      R"({"format":1,"volumes":1,"window":[-1024,600],)",
      R"("regions":[{"name":"air","range":[null,-950]}],"figures":{"mean":{"observed":[)", low, ",",
      high, R"(],"allowed":[)", low, ",", high, "]}}}");
}

// No CT volume has such a mean.
std::string Unreachable() { return MeanBetween(5000, 6000); }

TestServer::Configure Gate(const std::string& mode, uint32_t max_redraws = 2) {
  return [=](v1::ServerConfig& config) {
    config.mutable_plausibility()->set_mode(mode);
    config.mutable_plausibility()->set_max_redraws(max_redraws);
  };
}

std::vector<TestModel> ModelWith(const std::string& ranges) {
  TestModel model;
  model.plausibility = ranges;
  return {model};
}

double MeanOf(const std::string& volume) {
  std::vector<int16_t> voxels(volume.size() / sizeof(int16_t));
  std::memcpy(voxels.data(), volume.data(), volume.size());
  model::PlausibilityMeter meter(kSize, {-1024, 600}, {});
  meter.Append(voxels);
  return meter.Finish().at("mean");
}

// The volumes of kSeed and of its first redraw, from a server without a gate.
class PlausibilityTest : public ::testing::Test {
 protected:
  PlausibilityTest() {
    TestServer plain;
    first_ = Synthesize(plain.synthesis(), PlainRequest(kSeed)).volumes.at(0);
    redrawn_ = Synthesize(plain.synthesis(), PlainRequest(RedrawSeed(kSeed, 1))).volumes.at(0);
  }

  // Ranges that refuse the first and allow the redraw.
  std::string OnlyTheRedraw() const {
    const double wanted = MeanOf(redrawn_);
    const double margin = std::abs(wanted - MeanOf(first_)) / 2;
    return MeanBetween(wanted - margin, wanted + margin);
  }

  std::string first_;
  std::string redrawn_;
};

TEST(RedrawSeedTest, IsTheFirstFourBytesOfTheHash) {
  // printf 'redraw 1 of 5' | sha256sum, and so on.
  EXPECT_EQ(RedrawSeed(5, 1), 0xf4e979bau);
  EXPECT_EQ(RedrawSeed(5, 2), 0x8e50bbeeu);
  EXPECT_EQ(RedrawSeed(4294967295, 1), 0x2f46a74au);
}

TEST_F(PlausibilityTest, OffServesWhateverComesWithoutAWord) {
  TestServer server(nullptr, ModelWith(Unreachable()));
  const Received received = Synthesize(server.synthesis(), PlainRequest(kSeed));
  ASSERT_TRUE(received.status.ok()) << received.status.error_message();
  EXPECT_EQ(received.headers[0].plausibility(), "");
  EXPECT_TRUE(received.volumes[0] == first_);
}

TEST_F(PlausibilityTest, TagMarksAndServes) {
  TestServer server(Gate("tag"), ModelWith(Unreachable()));
  const Received received = Synthesize(server.synthesis(), PlainRequest(kSeed));
  ASSERT_TRUE(received.status.ok()) << received.status.error_message();
  EXPECT_EQ(received.fault, "");
  EXPECT_THAT(received.headers[0].plausibility(), StartsWith("implausible: mean is "));
  EXPECT_THAT(received.headers[0].plausibility(), HasSubstr("expected 5000 to 6000"));
  EXPECT_FALSE(received.headers[0].has_drawn_seed());
  EXPECT_TRUE(received.volumes[0] == first_);
  EXPECT_THAT(
      server.server().metrics().Text(),
      HasSubstr("synthvol_plausibility_draws_total{model=\"tiny\",verdict=\"implausible\"} 1"));
}

TEST_F(PlausibilityTest, TagKnowsAPlausibleVolumeInEveryFormat) {
  TestServer server(Gate("tag"), ModelWith(MeanBetween(-1024, 600)));
  v1::SynthesizeRequest request = PlainRequest(kSeed);
  for (const v1::VolumeFormat format :
       {v1::VOLUME_FORMAT_INT16, v1::VOLUME_FORMAT_FLOAT32, v1::VOLUME_FORMAT_DICOM}) {
    request.set_format(format);
    const Received received = Synthesize(server.synthesis(), request);
    ASSERT_TRUE(received.status.ok()) << received.status.error_message();
    EXPECT_EQ(received.fault, "");
    EXPECT_EQ(received.headers[0].plausibility(), "plausible");
  }
}

TEST_F(PlausibilityTest, TheGateChangesNoByteOfAnyFormat) {
  TestServer plain;
  TestServer gated(Gate("tag"), ModelWith(MeanBetween(-1024, 600)));
  v1::SynthesizeRequest request = PlainRequest(kSeed);
  request.set_format(v1::VOLUME_FORMAT_FLOAT32);
  EXPECT_TRUE(Synthesize(plain.synthesis(), request).volumes.at(0) ==
              Synthesize(gated.synthesis(), request).volumes.at(0));
}

TEST_F(PlausibilityTest, RedrawServesTheFirstPlausibleDrawAndRecordsItsSeed) {
  TestServer server(Gate("redraw"), ModelWith(OnlyTheRedraw()));
  const Received received = Synthesize(server.synthesis(), PlainRequest(kSeed));
  ASSERT_TRUE(received.status.ok()) << received.status.error_message();
  EXPECT_EQ(received.fault, "");
  const v1::VolumeHeader& header = received.headers[0];
  EXPECT_EQ(header.seed(), kSeed);
  EXPECT_EQ(header.drawn_seed(), RedrawSeed(kSeed, 1));
  EXPECT_EQ(header.redraws(), 1u);
  EXPECT_EQ(header.plausibility(), "plausible");
  EXPECT_TRUE(received.volumes[0] == redrawn_);
  const std::string metrics = server.server().metrics().Text();
  EXPECT_THAT(metrics, HasSubstr("verdict=\"implausible\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("verdict=\"plausible\"} 1"));
}

TEST_F(PlausibilityTest, ARedrawnVolumeResumes) {
  TestServer server(Gate("redraw"), ModelWith(OnlyTheRedraw()));
  v1::SynthesizeRequest request = PlainRequest(kSeed);
  request.set_start_slice(37);
  const Received received = Synthesize(server.synthesis(), request);
  ASSERT_TRUE(received.status.ok()) << received.status.error_message();
  EXPECT_EQ(received.headers[0].drawn_seed(), RedrawSeed(kSeed, 1));
  EXPECT_TRUE(received.volumes[0] == redrawn_.substr(37 * kSize * kSize * 2));
}

TEST_F(PlausibilityTest, DicomFilesSayWhichDrawTheyAre) {
  TestServer redrawing(Gate("redraw"), ModelWith(OnlyTheRedraw()));
  TestServer tagging(Gate("tag"), ModelWith(Unreachable()));
  v1::SynthesizeRequest request = PlainRequest(kSeed);
  request.set_format(v1::VOLUME_FORMAT_DICOM);
  const Received redrawn = Synthesize(redrawing.synthesis(), request);
  ASSERT_EQ(redrawn.files.at(0).size(), 64u);
  EXPECT_THAT(redrawn.files[0].begin()->second,
              HasSubstr(absl::StrCat("seed ", RedrawSeed(kSeed, 1), ", redraw 1 of 5")));
  const Received tagged = Synthesize(tagging.synthesis(), request);
  ASSERT_EQ(tagged.files.at(0).size(), 64u);
  EXPECT_THAT(tagged.files[0].begin()->second, HasSubstr("seed 5 (implausible)"));
}

TEST_F(PlausibilityTest, NothingIsSentWhenNoRedrawIsLeft) {
  TestServer server(Gate("redraw", 3), ModelWith(Unreachable()));
  const Received received = Synthesize(server.synthesis(), PlainRequest(kSeed));
  EXPECT_EQ(received.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOfGrpc(received.status), "IMPLAUSIBLE");
  EXPECT_THAT(received.status.error_message(),
              StartsWith("volume 0 (seed 5) and its 3 redraws are implausible, last: mean is "));
  EXPECT_TRUE(received.headers.empty());
  EXPECT_THAT(server.server().metrics().Text(), HasSubstr("verdict=\"implausible\"} 4"));
}

TEST_F(PlausibilityTest, AnExplicitLatentIsRefusedAtOnce) {
  TestServer server(Gate("redraw"), ModelWith(Unreachable()));
  v1::SynthesizeRequest request = PlainRequest();
  request.mutable_mix()->set_seed_a(1);
  request.mutable_mix()->set_seed_b(2);
  const Received received = Synthesize(server.synthesis(), request);
  EXPECT_EQ(received.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOfGrpc(received.status), "IMPLAUSIBLE");
  EXPECT_THAT(received.status.error_message(), HasSubstr("has no seed to redraw"));
}

TEST_F(PlausibilityTest, AModelWithoutRangesSaysSo) {
  TestServer server(Gate("redraw"));
  const Received received = Synthesize(server.synthesis(), PlainRequest(kSeed));
  ASSERT_TRUE(received.status.ok()) << received.status.error_message();
  EXPECT_THAT(received.headers[0].plausibility(), StartsWith("unchecked: "));
  EXPECT_TRUE(received.volumes[0] == first_);
}

TEST(PlausibilityMemoryTest, AdmissionCountsTheVolumeThatADeliveryHoldsBack) {
  for (const bool gate : {false, true}) {
    TestServer server(
        [gate](v1::ServerConfig& config) {
          config.mutable_plausibility()->set_mode(gate ? "tag" : "off");
          // Room for the instances of one volume of 64 a side, not for the volume beside them.
          config.mutable_queue()->set_max_bytes(1 << 20);
          v1::DestinationConfig& destination = *config.add_destinations();
          destination.set_name("nobody");
          destination.mutable_c_store()->set_host("127.0.0.1");
          destination.mutable_c_store()->set_port(1);
          destination.mutable_c_store()->set_called_ae_title("NOBODY");
        },
        ModelWith(MeanBetween(-1024, 600)));
    v1::DeliverRequest request;
    request.mutable_model()->set_name("tiny");
    request.set_seed(kSeed);
    request.set_count(1);
    request.set_destination("nobody");
    grpc::ClientContext context;
    const auto reader = server.delivery().Deliver(&context, request);
    v1::DeliverResponse response;
    while (reader->Read(&response)) {
    }
    EXPECT_EQ(ReasonOfGrpc(reader->Finish()), gate ? "REQUEST_BYTES" : "DESTINATION_UNAVAILABLE");
  }
}

TEST(PlausibilityLoadTest, RangesThatCannotBeReadRefuseTheModel) {
  TestServer server(Gate("tag"), ModelWith(R"({"format":2})"));
  grpc::ClientContext context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(server.synthesis().ListModels(&context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  EXPECT_EQ(list.models(0).state(), v1::MODEL_STATE_FAILED);
  EXPECT_THAT(list.models(0).state_reason(), HasSubstr("plausibility: format: expected 1"));
}

}  // namespace
}  // namespace synthvol::server
