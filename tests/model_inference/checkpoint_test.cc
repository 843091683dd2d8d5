// Checkpoints: what is written is read back; what strangers write is refused with its reason.
#include "model/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/checksum.h"
#include "model/checkpoint/hash_weights.h"
#include "model/checkpoint/safetensors_header.h"
#include "testing.h"

namespace synthvol::model {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// A safetensors file of this header and so many zero bytes.
std::string FileOf(const std::string& header, size_t data_bytes) {
  std::string file;
  for (size_t i = 0; i < 8; ++i) {
    file.push_back(static_cast<char>((header.size() >> (8 * i)) & 0xff));
  }
  return file + header + std::string(data_bytes, '\0');
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

TEST(ParseSafetensors, ReadsWhatPythonsLibraryWrites) {
  // As safetensors.numpy.save lays it out: metadata first, spaces to a multiple of 8.
  std::string header =
      R"({"__metadata__":{"format":"np"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
      R"("empty":{"dtype":"F32","shape":[0,4],"data_offsets":[11,11]},)"
      R"("scalar":{"dtype":"BF16","shape":[],"data_offsets":[11,13]}})";
  while (header.size() % 8 != 0) header.push_back(' ');
  const std::string file = FileOf(header, 13);
  const auto contents = ParseSafetensors(file, "f");
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->tensors.size(), 4U);
  EXPECT_EQ(contents->metadata.at("format"), "np");
  EXPECT_EQ(contents->tensors.at("b").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(contents->tensors.at("a").dtype, DType::kU8);
  EXPECT_EQ(contents->tensors.at("scalar").bytes.size(), 2U);
}

TEST(ParseSafetensors, RefusesHostileFilesWithTheirReason) {
  const std::string good = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  struct Case {
    std::string file;
    const char* reason;
  };
  std::string huge(8, '\xff');
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100000; ++i) deep.push_back('[');
  const std::vector<Case> cases{
      {"", "too short"},
      {"1234567", "too short"},
      {huge + "{}", "truncated: a header of 18446744073709551615 bytes"},
      {FileOf("{" + good + "}", 8).substr(0, 30), "truncated"},
      {FileOf("", 0), "does not begin with '{'"},
      {FileOf("[1]", 0), "does not begin with '{'"},
      {FileOf(" {}", 0), "does not begin with '{'"},
      {FileOf("{" + good, 8), "not a JSON object"},
      {FileOf("{\"\xff\xfe\":1}", 0), "not a JSON object"},
      {FileOf(deep, 0), "nested too deeply"},
      {FileOf("{" + good + "," + good + "}", 8), "the key 'a' repeats"},
      {FileOf(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
       "the key 'dtype' repeats"},
      {FileOf("{" + good + "}", 7), "ends at byte 8 of the data, which has 7"},
      {FileOf("{" + good + "}", 9), "1 bytes follow the last tensor"},
      {FileOf("{}", 3), "3 bytes follow"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "not its shape"},
      {FileOf(R"({"a":{"dtype":"F8","shape":[8],"data_offsets":[0,8]}})", 8), "unknown dtype"},
      {FileOf(R"({"a":{"dtype":7,"shape":[8],"data_offsets":[0,8]}})", 8), "unknown dtype"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), "list of sizes"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8), "list of sizes"},
      {FileOf(R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8), "list of sizes"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8),
       "not its shape"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8),
       "list of sizes"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), "[begin, end]"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", 8), "[begin, end]"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "needs exactly dtype"},
      {FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8),
       "needs exactly dtype"},
      {FileOf(R"({"a":5})", 0), "needs exactly dtype"},
      {FileOf(R"({"__metadata__":{"a":1}})", 0), "not a string"},
      {FileOf(R"({"__metadata__":[]})", 0), "__metadata__ is not an object"},
      {FileOf("{" + good + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
       "'b' overlaps the tensor before it"},
      {FileOf("{" + good + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
       "overlaps"},
      {FileOf("{" + good + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", 16),
       "'b' leaves a gap after the tensor before it"},
  };
  for (const Case& test : cases) {
    const auto contents = ParseSafetensors(test.file, "some.safetensors");
    ASSERT_FALSE(contents.ok()) << test.reason;
    EXPECT_EQ(contents.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(MessageOf(contents.status()), HasSubstr(test.reason));
    EXPECT_THAT(MessageOf(contents.status()), testing::StartsWith("some.safetensors: "));
  }
}

TEST(Safetensors, RoundTripsEveryDtypeAndAlignsTheData) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/t.safetensors";
  const std::string bytes(48, 'x');
  std::vector<NamedTensor> tensors;
  for (const DType dtype : {DType::kF64, DType::kI64, DType::kF32, DType::kI32, DType::kF16,
                            DType::kBF16, DType::kU8, DType::kBool}) {
    tensors.push_back(
        {ToString(dtype), dtype, {48 / SizeOf(dtype) / 2, 2}, std::string_view(bytes)});
  }
  ASSERT_TRUE(WriteSafetensors(path, tensors, {{"k", "v"}}).ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const NamedTensor& tensor : tensors) {
    const auto& entry = file->tensors().at(tensor.name);
    EXPECT_EQ(entry.dtype, tensor.dtype);
    EXPECT_EQ(entry.shape, tensor.shape);
    EXPECT_EQ(entry.bytes, tensor.bytes);
  }
  EXPECT_EQ(file->metadata().at("k"), "v");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->tensors().at("F64").bytes.data()) % 64, 0U);
}

TEST(Safetensors, RefusesToWriteWhatItCouldNotRead) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/t.safetensors";
  const NamedTensor good{"a", DType::kF32, {1}, "1234"};
  EXPECT_FALSE(WriteSafetensors(path, {{"a", DType::kF32, {2}, "1234"}}, {}).ok());
  EXPECT_FALSE(WriteSafetensors(path, {good, good}, {}).ok());
  EXPECT_FALSE(WriteSafetensors(path, {{"__metadata__", DType::kF32, {1}, "1234"}}, {}).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Safetensors, FloatsNamesTensorAndFile) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/t.safetensors";
  ASSERT_TRUE(WriteSafetensors(path,
                               {{"pad", DType::kU8, {2}, "12"},
                                {"odd", DType::kF32, {1}, "1234"},
                                {"half", DType::kF16, {1}, "12"}},
                               {})
                  .ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->Floats("x", {1}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(MessageOf(file->Floats("odd", {2}).status()),
              HasSubstr("tensor 'odd' is F32 [1], expected F32 [2]"));
  EXPECT_THAT(MessageOf(file->Floats("half", {1}).status()), HasSubstr("is F16 [1], expected F32"));
  EXPECT_THAT(MessageOf(file->Floats("odd", {1}).status()), HasSubstr("multiple of 4 bytes"));
  EXPECT_THAT(MessageOf(file->Floats("odd", {2}).status()), HasSubstr(path));
}

TEST(Safetensors, RefusesWhatIsNotARegularFile) {
  const TemporaryFolder folder;
  EXPECT_THAT(MessageOf(SafetensorsFile::Open(folder.path()).status()), HasSubstr("regular file"));
  ASSERT_EQ(mkfifo((folder.path() + "/pipe").c_str(), 0600), 0);
  EXPECT_THAT(MessageOf(SafetensorsFile::Open(folder.path() + "/pipe").status()),
              HasSubstr("regular file"));
  EXPECT_THAT(MessageOf(SafetensorsFile::Open(folder.path() + "/none").status()),
              HasSubstr("/none: cannot open"));
}

ModelConfig FullConfig() {
  ModelConfig config;
  config.architecture = Architecture::kHaGan;
  config.size = 128;
  config.channels = 16;
  config.latent_dim = 100;
  config.num_classes = 2;
  config.class_names = {"healthy", "Läsion \"A\""};
  config.crf_nodes = CrfNodes::kDepth;
  config.modality = "MR";
  config.window = {0.0, 1500.5};
  config.spacing = {0.7, 0.8, 2.5};
  config.provenance = {{"iterations", "80000"}, {"commit", "abc"}};
  config.plausibility_json = R"({"air":[0.1,0.5]})";
  return config;
}

TEST(ModelConfig, RoundTripsAndWritesEqualBytes) {
  const ModelConfig config = FullConfig();
  const std::string text = ToJson(config);
  const auto parsed = ParseModelConfig(text, "config.json");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(ToJson(*parsed), text);
  EXPECT_EQ(parsed->architecture, config.architecture);
  EXPECT_EQ(parsed->size, config.size);
  EXPECT_EQ(parsed->channels, config.channels);
  EXPECT_EQ(parsed->latent_dim, config.latent_dim);
  EXPECT_EQ(parsed->num_classes, config.num_classes);
  EXPECT_EQ(parsed->class_names, config.class_names);
  EXPECT_EQ(parsed->crf_nodes, config.crf_nodes);
  EXPECT_EQ(parsed->modality, config.modality);
  EXPECT_EQ(parsed->window, config.window);
  EXPECT_EQ(parsed->spacing, config.spacing);
  EXPECT_EQ(parsed->provenance, config.provenance);
  EXPECT_EQ(parsed->plausibility_json, config.plausibility_json);
}

TEST(ModelConfig, RefusesBadFieldsByName) {
  struct Case {
    std::function<void(json&)> change;
    const char* message;
  };
  const std::vector<Case> cases{
      {[](json& c) { c["format"] = "other"; }, "field 'format': 'synthvol-model' expected"},
      {[](json& c) { c["format_version"] = 2; }, "field 'format_version': 1 expected"},
      {[](json& c) { c.erase("format"); }, "field 'format': a value expected"},
      {[](json& c) { c.erase("size"); }, "field 'size': a value expected"},
      {[](json& c) { c["size"] = 65; }, "field 'size': 64, 128, 256 or 512 expected"},
      {[](json& c) { c["size"] = "64"; }, "field 'size': a whole number expected"},
      {[](json& c) { c["size"] = 64.0; }, "field 'size': a whole number expected"},
      {[](json& c) { c["size"] = 18446744073709551615ULL; }, "field 'size': a whole number below"},
      {[](json& c) { c["architecture"] = "vae"; }, "crf-gan or ha-gan expected"},
      {[](json& c) { c["architecture"] = nullptr; }, "field 'architecture': a string expected"},
      {[](json& c) { c["channels"] = 0; }, "a multiple of 16 from 16 to 1024 expected"},
      {[](json& c) { c["channels"] = 24; }, "field 'channels': a multiple of 16"},
      {[](json& c) { c["channels"] = 1 << 20; }, "field 'channels'"},
      {[](json& c) { c["latent_dim"] = 0; }, "field 'latent_dim': 1 to 65536 expected"},
      {[](json& c) { c["latent_dim"] = -5; }, "field 'latent_dim'"},
      {[](json& c) { c["num_classes"] = -1; }, "field 'num_classes': 0 to 4096 expected"},
      {[](json& c) { c["num_classes"] = 3; }, "field 'class_names': none, or one a class"},
      {[](json& c) {
         c["class_names"] = {1, 2};
       },
       "field 'class_names': a list of strings"},
      {[](json& c) { c["crf_nodes"] = "rows"; }, "released or depth expected"},
      {[](json& c) { c["modality"] = "PET"; }, "field 'modality': CT or MR expected"},
      {[](json& c) {
         c["window"] = {5, 5};
       },
       "field 'window': [low, high]"},
      {[](json& c) {
         c["window"] = {-40000, 5};
       },
       "field 'window': [low, high]"},
      {[](json& c) {
         c["window"] = {1, 2, 3};
       },
       "field 'window': a list of 2 numbers"},
      {[](json& c) {
         c["spacing"] = {0, 1, 1};
       },
       "field 'spacing': three distances"},
      {[](json& c) {
         c["spacing"] = {1, 1};
       },
       "field 'spacing': a list of 3 numbers"},
      {[](json& c) {
         c["spacing"] = {1, 1, "2"};
       },
       "field 'spacing': a list of 3 numbers"},
      {[](json& c) {
         c["provenance"] = {{"a", 1}};
       },
       "field 'provenance': an object of strings"},
      {[](json& c) { c["plausibility"] = 3; }, "field 'plausibility': an object"},
      {[](json& c) { c["chanels"] = 3; }, "unknown field 'chanels'"},
  };
  for (const Case& test : cases) {
    json changed = json::parse(ToJson(FullConfig()));
    test.change(changed);
    const auto parsed = ParseModelConfig(changed.dump(), "m/config.json");
    ASSERT_FALSE(parsed.ok()) << test.message;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(MessageOf(parsed.status()), HasSubstr(test.message));
    EXPECT_THAT(MessageOf(parsed.status()), testing::StartsWith("m/config.json: "));
  }
}

TEST(ModelConfig, RefusesTextThatIsNotOneObject) {
  for (const char* text : {"", "[]", "null", "{", "{}{}", "{\"a\":1,\"a\":2}", "\xff"}) {
    EXPECT_FALSE(ParseModelConfig(text, "c").ok()) << text;
  }
}

TEST(ModelConfig, RefusesInfinitePlacesThatJsonCannotHold) {
  ModelConfig config;
  config.window.high = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(Validate(config).ok());
  config = {};
  config.spacing[1] = std::nan("");
  EXPECT_FALSE(Validate(config).ok());
}

TEST(GeneratorTensors, HasTheReferencesNamesShapesAndCount) {
  for (const char* name : {"crf-gan-64", "crf-gan-128", "crf-gan-256", "ha-gan-128"}) {
    const auto golden = ReadGolden(std::string(name) + ".json");
    if (!golden) GTEST_SKIP() << "no golden values in SYNTHVOL_SHARED_DIR";
    ModelConfig config;
    config.size = golden->at("resolution");
    std::vector<json> reference;
    for (const json& parameter : golden->at("parameters")) {
      const std::string tensor = parameter[1];
      // The low-resolution branch of HA-GAN is not needed to render.
      if (parameter[0] == "G" && !tensor.starts_with("sub_G.")) reference.push_back(parameter);
    }
    const auto tensors = GeneratorTensors(config);
    ASSERT_EQ(tensors.size(), reference.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(tensors[i].name, reference[i][1].get<std::string>());
      EXPECT_EQ(tensors[i].shape, reference[i][2].get<std::vector<int64_t>>());
    }
  }
}

TEST(GeneratorTensors, GrowsWithClassesAndWithTheThirdStage) {
  ModelConfig config = SmallConfig(512);
  config.num_classes = 5;
  const auto tensors = GeneratorTensors(config);
  EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{16 * 16 * 64, 29}));
  EXPECT_EQ(tensors[tensors.size() - 4].name, "tp_conv8.weight");
  EXPECT_EQ(tensors[tensors.size() - 4].shape, (std::vector<int64_t>{8, 16, 3, 3, 3}));
}

// A checkpoint whose weights can be changed before it is written.
class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() : weights_(MakeHashedGenerator(config_, 1)) {}

  absl::Status Check(std::vector<NamedTensor> tensors) {
    if (auto status = WriteCheckpoint(folder_.path(), config_, tensors); !status.ok()) {
      return status;
    }
    auto opened = OpenCheckpoint(folder_.path());
    return opened.ok() ? CheckGeneratorWeights(*opened) : opened.status();
  }

  const ModelConfig config_ = SmallConfig(64);
  HashedWeights weights_;
  TemporaryFolder folder_;
};

TEST_F(CheckpointTest, AcceptsExtraTensorsAndAnyOrder) {
  auto tensors = weights_.Named();
  std::reverse(tensors.begin(), tensors.end());
  tensors.push_back({"sub_G.bn1.bias", DType::kF32, {1}, "1234"});
  const auto status = Check(tensors);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(CheckpointTest, DigestIsTheSumOfTheSums) {
  ASSERT_TRUE(Check(weights_.Named()).ok());
  const auto opened = OpenCheckpoint(folder_.path());
  ASSERT_TRUE(opened.ok());
  const std::string listing =
      Sha256HexOfFile(folder_.path() + "/config.json").value() + "  config.json\n" +
      Sha256HexOfFile(folder_.path() + "/model.safetensors").value() + "  model.safetensors\n";
  EXPECT_EQ(opened->digest, Sha256Hex(listing));
  // The same model elsewhere has the same digest; another window has another.
  const TemporaryFolder elsewhere;
  ModelConfig other = config_;
  ASSERT_TRUE(WriteCheckpoint(elsewhere.path(), other, weights_.Named()).ok());
  EXPECT_EQ(OpenCheckpoint(elsewhere.path())->digest, opened->digest);
  other.window.high = 601.0;
  ASSERT_TRUE(WriteCheckpoint(elsewhere.path(), other, weights_.Named()).ok());
  EXPECT_NE(OpenCheckpoint(elsewhere.path())->digest, opened->digest);
}

TEST_F(CheckpointTest, RefusesMissingWrongAndForeignTensors) {
  auto tensors = weights_.Named();
  tensors.erase(tensors.begin() + 4);
  EXPECT_THAT(MessageOf(Check(tensors)), HasSubstr("model.safetensors: no tensor 'bn1.weight'"));

  tensors = weights_.Named();
  std::swap(tensors[6].shape[0], tensors[6].shape[2]);
  EXPECT_THAT(MessageOf(Check(tensors)),
              HasSubstr("tensor 'tp_conv2.weight' is F32 [3, 128, 128, 3, 3], expected F32"));

  tensors = weights_.Named();
  tensors[1].dtype = DType::kI32;
  EXPECT_THAT(MessageOf(Check(tensors)), HasSubstr("tensor 'fc1.bias' is I32"));

  EXPECT_THAT(MessageOf(Check({{"conv.weight", DType::kF32, {1}, "1234"}})),
              HasSubstr("no tensor 'fc1.weight'"));
  EXPECT_THAT(MessageOf(Check({})), HasSubstr("no tensor 'fc1.weight'"));
}

TEST_F(CheckpointTest, RefusesValuesThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    weights_.values[9].back() = bad;
    EXPECT_THAT(MessageOf(Check(weights_.Named())),
                HasSubstr("tensor 'bn2.bias' holds values that are not finite"));
  }
}

TEST_F(CheckpointTest, RefusesTruncatedFilesAndMissingOnes) {
  ASSERT_TRUE(Check(weights_.Named()).ok());
  const std::string path = folder_.path() + "/model.safetensors";
  const auto size = std::filesystem::file_size(path);
  for (const uintmax_t length : {size - 1, size / 2, uintmax_t{100}, uintmax_t{0}}) {
    std::filesystem::resize_file(path, length);
    const auto opened = OpenCheckpoint(folder_.path());
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kInvalidArgument) << length;
    EXPECT_THAT(MessageOf(opened.status()), HasSubstr("model.safetensors"));
  }
  std::filesystem::remove(path);
  EXPECT_THAT(MessageOf(OpenCheckpoint(folder_.path()).status()), HasSubstr("model.safetensors"));
  std::filesystem::remove(folder_.path() + "/config.json");
  EXPECT_THAT(MessageOf(OpenCheckpoint(folder_.path()).status()), HasSubstr("config.json"));
  EXPECT_FALSE(OpenCheckpoint("/nonexistent").ok());
}

TEST_F(CheckpointTest, RefusesToWriteAnInvalidConfiguration) {
  ModelConfig config = config_;
  config.size = 63;
  EXPECT_FALSE(WriteCheckpoint(folder_.path(), config, weights_.Named()).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

}  // namespace
}  // namespace synthvol::model
