// A table of wrong and hostile requests: each gets its code, its reason, its field and a message
// that says what is allowed.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "tests/server/testing/test_server.h"

namespace synthvol::server {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

struct Case {
  const char* name;
  std::function<void(v1::SynthesizeRequest&)> spoil;
  StatusCode code;
  const char* field;
  const char* message;
};

v1::DicomAttributes& Attributes(v1::SynthesizeRequest& r) {
  r.set_format(v1::VOLUME_FORMAT_DICOM);
  return *r.mutable_dicom()->mutable_attributes();
}

void SetLatent(v1::SynthesizeRequest& r, int count, float value) {
  r.mutable_latent();
  for (int i = 0; i < count; ++i) r.mutable_latent()->add_values(value);
}

const StatusCode kBad = StatusCode::INVALID_ARGUMENT;

// clang-format off
const Case kCases[] = {
  // Which model.
  {"NoModel", [](auto& r) { r.clear_model(); }, kBad, "model.name", "is required"},
  {"EmptyModelName", [](auto& r) { r.mutable_model()->set_name(""); }, kBad, "model.name", "is required"},
  {"ModelNameWithPath", [](auto& r) { r.mutable_model()->set_name("../tiny"); }, kBad, "model.name", "[A-Za-z0-9_.-]{1,64}"},
  {"ModelNameWithNul", [](auto& r) { r.mutable_model()->set_name(std::string("tiny\0", 5)); }, kBad, "model.name", "[A-Za-z0-9_.-]"},
  {"ModelNameDots", [](auto& r) { r.mutable_model()->set_name(".."); }, kBad, "model.name", "[A-Za-z0-9_.-]"},
  {"ModelNameHuge", [](auto& r) { r.mutable_model()->set_name(std::string(100000, 'a')); }, kBad, "model.name", "{1,64}"},
  {"ModelNameNotAscii", [](auto& r) { r.mutable_model()->set_name("t\xc3\xadny"); }, kBad, "model.name", "[A-Za-z0-9_.-]"},
  {"ModelUnknown", [](auto& r) { r.mutable_model()->set_name("huge"); }, StatusCode::NOT_FOUND, "", "no model 'huge'"},
  {"VersionUnknown", [](auto& r) { r.mutable_model()->set_version(9); }, StatusCode::NOT_FOUND, "", "has no version 9"},
  {"VersionZero", [](auto& r) { r.mutable_model()->set_version(0); }, kBad, "model.version", "positive"},
  {"VersionNegative", [](auto& r) { r.mutable_model()->set_version(-1); }, kBad, "model.version", "positive"},
  {"VersionSmallest", [](auto& r) { r.mutable_model()->set_version(INT64_MIN); }, kBad, "model.version", "positive"},
  {"LabelUnknown", [](auto& r) { r.mutable_model()->set_label("gold"); }, StatusCode::NOT_FOUND, "", "no label 'gold'"},
  {"LabelWithPath", [](auto& r) { r.mutable_model()->set_label("a/b"); }, kBad, "model.label", "[A-Za-z0-9_.-]"},
  {"LabelEmpty", [](auto& r) { r.mutable_model()->set_label(""); }, kBad, "model.label", "[A-Za-z0-9_.-]"},
  // How many, from where.
  {"CountZero", [](auto& r) { r.set_count(0); }, kBad, "count", "1 .. 1000, found 0"},
  {"CountAboveLimit", [](auto& r) { r.set_count(1001); }, kBad, "count", "1 .. 1000, found 1001"},
  {"CountHuge", [](auto& r) { r.set_count(UINT32_MAX); }, kBad, "count", "1 .. 1000"},
  {"StartVolumeAtCount", [](auto& r) { r.set_start_volume(1); }, kBad, "start_volume", "0 .. 0"},
  {"StartVolumeHuge", [](auto& r) { r.set_start_volume(UINT32_MAX); }, kBad, "start_volume", "0 .. 0"},
  {"StartSliceAtSize", [](auto& r) { r.set_start_slice(64); }, kBad, "start_slice", "0 .. 63, found 64"},
  {"StartSliceHuge", [](auto& r) { r.set_start_slice(UINT32_MAX); }, kBad, "start_slice", "0 .. 63"},
  // The latent.
  {"NoSource", [](auto& r) { r.clear_source(); }, kBad, "source", "seed, latent or mix"},
  {"SeedBeyond32Bits", [](auto& r) { r.set_seed(1ULL << 32); }, kBad, "seed", "0 .. 4294967295"},
  {"SeedLargest", [](auto& r) { r.set_seed(UINT64_MAX); }, kBad, "seed", "0 .. 4294967295"},
  {"SeedRunsOut", [](auto& r) { r.set_seed(0xFFFFFFFF); r.set_count(2); }, kBad, "seed", "all that follow"},
  {"SeedWrapsAround", [](auto& r) { r.set_seed(UINT64_MAX - 4); r.set_count(10); }, kBad, "seed", "0 .. 4294967295"},
  {"LatentEmpty", [](auto& r) { SetLatent(r, 0, 0); }, kBad, "latent.values", "expected 16 values, found 0"},
  {"LatentTooShort", [](auto& r) { SetLatent(r, 15, 0); }, kBad, "latent.values", "expected 16 values, found 15"},
  {"LatentTooLong", [](auto& r) { SetLatent(r, 10000, 0); }, kBad, "latent.values", "found 10000"},
  {"LatentNan", [](auto& r) { SetLatent(r, 16, NAN); }, kBad, "latent.values[0]", "finite"},
  {"LatentInfinite", [](auto& r) { SetLatent(r, 16, INFINITY); }, kBad, "latent.values[0]", "finite"},
  {"LatentOneNan", [](auto& r) { SetLatent(r, 16, 0); r.mutable_latent()->set_values(7, NAN); }, kBad, "latent.values[7]", "finite"},
  {"LatentWithCount", [](auto& r) { SetLatent(r, 16, 0); r.set_count(2); }, kBad, "count", "expected 1"},
  {"MixWithCount", [](auto& r) { r.mutable_mix(); r.set_count(2); }, kBad, "count", "expected 1"},
  {"MixFractionNan", [](auto& r) { r.mutable_mix()->set_fraction(NAN); }, kBad, "mix.fraction", "[0, 1]"},
  {"MixFractionNegative", [](auto& r) { r.mutable_mix()->set_fraction(-0.001); }, kBad, "mix.fraction", "[0, 1]"},
  {"MixFractionAboveOne", [](auto& r) { r.mutable_mix()->set_fraction(1.001); }, kBad, "mix.fraction", "[0, 1]"},
  {"MixFractionInfinite", [](auto& r) { r.mutable_mix()->set_fraction(INFINITY); }, kBad, "mix.fraction", "[0, 1]"},
  {"MixSeedA", [](auto& r) { r.mutable_mix()->set_seed_a(1ULL << 40); }, kBad, "mix.seed_a", "0 .. 4294967295"},
  {"MixSeedB", [](auto& r) { r.mutable_mix()->set_seed_b(1ULL << 40); }, kBad, "mix.seed_b", "0 .. 4294967295"},
  // Classes.
  {"ClassOfUnconditional", [](auto& r) { r.set_class_label(0); }, kBad, "class_label", "has no classes"},
  {"ClassMissing", [](auto& r) { r.mutable_model()->set_name("classes"); }, kBad, "class_label", "0 .. 2"},
  {"ClassTooLarge", [](auto& r) { r.mutable_model()->set_name("classes"); r.set_class_label(3); }, kBad, "class_label", "0 .. 2"},
  {"ClassNegative", [](auto& r) { r.mutable_model()->set_name("classes"); r.set_class_label(-1); }, kBad, "class_label", "0 .. 2"},
  // Form.
  {"FormatMissing", [](auto& r) { r.clear_format(); }, kBad, "format", "is required"},
  {"FormatUnknown", [](auto& r) { r.set_format(static_cast<v1::VolumeFormat>(99)); }, kBad, "format", "unknown value 99"},
  {"FormatNegative", [](auto& r) { r.set_format(static_cast<v1::VolumeFormat>(-1)); }, kBad, "format", "unknown value -1"},
  {"PrecisionUnknown", [](auto& r) { r.set_precision(static_cast<v1::Precision>(9)); }, kBad, "precision", "unknown value 9"},
  {"PrecisionOfGpu", [](auto& r) { r.set_precision(v1::PRECISION_TF32); }, kBad, "precision", "tf32 is not supported"},
  {"PrecisionNotSwitchedOn", [](auto& r) { r.set_precision(v1::PRECISION_BF16); }, kBad, "precision", "bf16 is not s"},
  {"PriorityUnknown", [](auto& r) { r.set_priority(static_cast<v1::Priority>(9)); }, kBad, "priority", "unknown value 9"},
  {"DigestUnknown", [](auto& r) { r.set_digest(static_cast<v1::VolumeDigest>(9)); }, kBad, "digest", "unknown value 9"},
  {"ChunkTooSmall", [](auto& r) { r.set_max_chunk_bytes(65535); }, kBad, "max_chunk_bytes", "65536 .. 3145728"},
  {"ChunkTooLarge", [](auto& r) { r.set_max_chunk_bytes(3145729); }, kBad, "max_chunk_bytes", "65536 .. 3145728"},
  {"RequestIdWithSpace", [](auto& r) { r.set_request_id("a b"); }, kBad, "request_id", "[A-Za-z0-9_.-]{1,64}"},
  {"RequestIdWithNewline", [](auto& r) { r.set_request_id("a\nlevel=error"); }, kBad, "request_id", "[A-Za-z0-9_.-]{1,64}"},
  {"RequestIdLong", [](auto& r) { r.set_request_id(std::string(65, 'x')); }, kBad, "request_id", "{1,64}"},
  // DICOM.
  {"DicomWithoutFormat", [](auto& r) { r.mutable_dicom(); }, kBad, "dicom", "only with format DICOM"},
  {"DicomStorageUnknown", [](auto& r) { Attributes(r); r.mutable_dicom()->set_storage(static_cast<v1::DicomStorage>(7)); }, kBad, "dicom.storage", "unknown value 7"},
  {"DicomSyntaxUnknown", [](auto& r) { Attributes(r); r.mutable_dicom()->set_transfer_syntax(static_cast<v1::DicomTransferSyntax>(77)); }, kBad, "dicom.transfer_syntax", "unknown value 77"},
  {"DicomGroupingUnknown", [](auto& r) { Attributes(r); r.mutable_dicom()->set_grouping(static_cast<v1::DicomGrouping>(7)); }, kBad, "dicom.grouping", "unknown value 7"},
  {"PatientNameLong", [](auto& r) { Attributes(r).set_patient_name(std::string(65, 'A')); }, kBad, "dicom.attributes.patient_name", "64"},
  {"PatientNameBackslash", [](auto& r) { Attributes(r).set_patient_name("A\\B"); }, kBad, "dicom.attributes.patient_name", ""},
  {"PatientIdControl", [](auto& r) { Attributes(r).set_patient_id("A\x01"); }, kBad, "dicom.attributes.patient_id", ""},
  {"PatientIdLong", [](auto& r) { Attributes(r).set_patient_id(std::string(1000, '1')); }, kBad, "dicom.attributes.patient_id", "64"},
  {"BirthDateWords", [](auto& r) { Attributes(r).set_patient_birth_date("yesterday"); }, kBad, "dicom.attributes.patient_birth_date", ""},
  {"BirthDateImpossible", [](auto& r) { Attributes(r).set_patient_birth_date("20260231"); }, kBad, "dicom.attributes.patient_birth_date", ""},
  {"SexUnknown", [](auto& r) { Attributes(r).set_patient_sex("X"); }, kBad, "dicom.attributes.patient_sex", ""},
  {"StudyUidWords", [](auto& r) { Attributes(r).set_study_instance_uid("abc"); }, kBad, "dicom.attributes.study_instance_uid", ""},
  {"StudyUidLeadingZero", [](auto& r) { Attributes(r).set_study_instance_uid("1.02.3"); }, kBad, "dicom.attributes.study_instance_uid", ""},
  {"StudyUidLong", [](auto& r) { Attributes(r).set_study_instance_uid("1." + std::string(64, '2')); }, kBad, "dicom.attributes.study_instance_uid", ""},
  {"StudyIdLong", [](auto& r) { Attributes(r).set_study_id(std::string(17, 'x')); }, kBad, "dicom.attributes.study_id", "16"},
  {"StudyTimeImpossible", [](auto& r) { Attributes(r).set_study_time("256161"); }, kBad, "dicom.attributes.study_time", ""},
  {"AccessionLong", [](auto& r) { Attributes(r).set_accession_number(std::string(17, 'x')); }, kBad, "dicom.attributes.accession_number", "16"},
  {"SeriesNumberNegative", [](auto& r) { Attributes(r).set_series_number(-1); }, kBad, "dicom.attributes.series_number", ""},
};
// clang-format on

class HostileRequestsTest : public ::testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    server_ = new TestServer(nullptr, {TestModel(), {"classes", 1, 2, 3}});
  }
  static void TearDownTestSuite() {
    // The server is as well as before.
    EXPECT_TRUE(Synthesize(server_->synthesis(), PlainRequest()).status.ok());
    delete server_;
  }
  static TestServer* server_;
};
TestServer* HostileRequestsTest::server_ = nullptr;

TEST_P(HostileRequestsTest, IsRefused) {
  const Case& c = GetParam();
  v1::SynthesizeRequest request = PlainRequest();
  c.spoil(request);
  const Received received = Synthesize(server_->synthesis(), request);
  EXPECT_EQ(received.status.error_code(), c.code) << received.status.error_message();
  EXPECT_THAT(received.status.error_message(), HasSubstr(c.message));
  EXPECT_EQ(FieldOfGrpc(received.status), c.field);
  EXPECT_NE(ReasonOfGrpc(received.status), "");
  EXPECT_TRUE(received.headers.empty());
  EXPECT_EQ(received.status.error_message().find('\n'), std::string::npos);
  EXPECT_LT(received.status.error_message().size(), 300u);
}

INSTANTIATE_TEST_SUITE_P(Table, HostileRequestsTest, ::testing::ValuesIn(kCases),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(HostileTableTest, HasAtLeastSixtyCases) { EXPECT_GE(std::size(kCases), 60u); }

// Beneath the messages: bytes that are none.
class HostileBytesTest : public ::testing::Test {
 protected:
  // Sends `bytes` as the request of `method`.
  grpc::Status Send(const std::string& method, const std::string& bytes) {
    grpc::GenericStub stub(server_.NewChannel());
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareCall(&context, method, &queue);
    void* tag = nullptr;
    bool ok = false;
    call->StartCall(nullptr);
    queue.Next(&tag, &ok);
    const grpc::Slice slice(bytes);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    queue.Next(&tag, &ok);
    grpc::Status status;
    call->Finish(&status, nullptr);
    queue.Next(&tag, &ok);
    return status;
  }

  TestServer server_;
};

TEST_F(HostileBytesTest, GarbageIsNoRequest) {
  const grpc::Status status = Send("/synthvol.v1.SynthesisService/Synthesize", "\xff\xff\xff\xff");
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOfGrpc(status), "BAD_MESSAGE");
}

TEST_F(HostileBytesTest, AMessageOverTheLimitIsRefusedUnread) {
  const grpc::Status status =
      Send("/synthvol.v1.SynthesisService/Synthesize", std::string(300 << 10, 'x'));
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(HostileBytesTest, AMessageThatUnpacksToManyTimesItsSizeIsNotUnpacked) {
  v1::SynthesizeRequest request = PlainRequest();
  // 64 MB of zeros: a few dozen kilobytes on the wire, far under the limit of a message.
  request.mutable_latent()->mutable_values()->Resize(16000000, 0.0F);
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    const Received received = Synthesize(server_.synthesis(), request, &context);
    EXPECT_EQ(received.status.error_code(), StatusCode::UNIMPLEMENTED)
        << received.status.error_message();
  }
}

TEST_F(HostileBytesTest, AnUnknownMethodIsUnimplemented) {
  EXPECT_EQ(Send("/synthvol.v1.SynthesisService/Erase", "").error_code(),
            StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Send("/evil.Service/Run", "").error_code(), StatusCode::UNIMPLEMENTED);
}

TEST_F(HostileBytesTest, MetadataOverTheLimitIsRefused) {
  grpc::ClientContext context;
  context.AddMetadata("x-large", std::string(64 << 10, 'x'));
  const Received received = Synthesize(server_.synthesis(), PlainRequest(), &context);
  EXPECT_EQ(received.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  // gRPC may close the connection of such a caller; the server goes on for all others.
  const auto other = v1::SynthesisService::NewStub(server_.NewChannel());
  const grpc::Status next = Synthesize(*other, PlainRequest()).status;
  EXPECT_TRUE(next.ok()) << next.error_code() << ": " << next.error_message();
}

}  // namespace
}  // namespace synthvol::server
