// config.json: parsing, validation, writing.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/strict_json.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "synthvol-model";
constexpr int64_t kFormatVersion = 1;
constexpr int64_t kMaxChannels = 1024;
constexpr int64_t kMaxLatentDim = 65536;
constexpr int64_t kMaxClasses = 4096;

// Reads the fields of one JSON object; keeps the first error, so that a caller checks once.
class FieldReader {
 public:
  FieldReader(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  void Integer(const char* key, int64_t* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_number_integer()) return Fail(key, "a whole number");
    if (value->is_number_unsigned() &&
        value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail(key, "a whole number below 2^63");
    }
    *out = value->get<int64_t>();
  }

  void Text(const char* key, std::string* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_string()) return Fail(key, "a string");
    *out = value->get<std::string>();
  }

  // Reads a list of exactly `count` numbers.
  void Numbers(const char* key, double* out, size_t count) {
    const json* value = Find(key);
    if (value == nullptr) return;
    const bool fits = value->is_array() && value->size() == count &&
                      std::all_of(value->begin(), value->end(),
                                  [](const json& item) { return item.is_number(); });
    if (!fits) return Fail(key, absl::StrCat("a list of ", count, " numbers"));
    for (size_t i = 0; i < count; ++i) out[i] = (*value)[i].get<double>();
  }

  void Texts(const char* key, std::vector<std::string>* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    const bool fits =
        value->is_array() && std::all_of(value->begin(), value->end(),
                                         [](const json& item) { return item.is_string(); });
    if (!fits) return Fail(key, "a list of strings");
    *out = value->get<std::vector<std::string>>();
  }

  void TextMap(const char* key, std::map<std::string, std::string>* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    const bool fits =
        value->is_object() && std::all_of(value->begin(), value->end(),
                                          [](const json& item) { return item.is_string(); });
    if (!fits) return Fail(key, "an object of strings");
    *out = value->get<std::map<std::string, std::string>>();
  }

  void Object(const char* key, std::string* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_object()) return Fail(key, "an object");
    *out = value->dump();
  }

  void Fail(const char* key, const std::string& expected) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(
        absl::StrCat(where_, ": field '", key, "': ", expected, " expected"));
  }

  void Require(std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      if (!object_.contains(key)) Fail(key, "a value");
    }
  }

  void RefuseOthers(std::initializer_list<const char*> known) {
    for (const auto& [key, value] : object_.items()) {
      const bool is_known = std::any_of(known.begin(), known.end(),
                                        [&key = key](const char* name) { return key == name; });
      if (!is_known && status_.ok()) {
        status_ = absl::InvalidArgumentError(absl::StrCat(where_, ": unknown field '", key, "'"));
      }
    }
  }

  const absl::Status& status() const { return status_; }

 private:
  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  const json& object_;
  const std::string where_;
  absl::Status status_;
};

absl::StatusOr<CrfNodes> ParseCrfNodes(const std::string& text) {
  if (text == "released") return CrfNodes::kReleased;
  if (text == "depth") return CrfNodes::kDepth;
  return absl::InvalidArgumentError("field 'crf_nodes': released or depth expected");
}

absl::Status Expect(bool holds, const char* field, const std::string& expected) {
  if (holds) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("field '", field, "': ", expected, " expected"));
}

// The last stage at 512, and HA-GAN's low-resolution branch, have c/2 channels in 8 groups.
int64_t ChannelStep(const ModelConfig& config) {
  return config.size == 512 || config.architecture == Architecture::kHaGan ? 16 : 8;
}

absl::Status ValidateNetwork(const ModelConfig& config) {
  const bool known_size =
      config.size == 64 || config.size == 128 || config.size == 256 || config.size == 512;
  if (auto s = Expect(known_size, "size", "64, 128, 256 or 512"); !s.ok()) return s;
  const int64_t step = ChannelStep(config);
  const bool good_channels =
      config.channels >= step && config.channels <= kMaxChannels && config.channels % step == 0;
  if (auto s = Expect(good_channels, "channels",
                      absl::StrCat("a multiple of ", step, " from ", step, " to ", kMaxChannels));
      !s.ok()) {
    return s;
  }
  if (auto s = Expect(config.latent_dim >= 1 && config.latent_dim <= kMaxLatentDim, "latent_dim",
                      absl::StrCat("1 to ", kMaxLatentDim));
      !s.ok()) {
    return s;
  }
  if (auto s = Expect(config.num_classes >= 0 && config.num_classes <= kMaxClasses, "num_classes",
                      absl::StrCat("0 to ", kMaxClasses));
      !s.ok()) {
    return s;
  }
  const bool names_fit = config.class_names.empty() ||
                         static_cast<int64_t>(config.class_names.size()) == config.num_classes;
  return Expect(names_fit, "class_names", "none, or one a class");
}

absl::Status ValidatePlace(const ModelConfig& config) {
  if (auto s = Expect(config.modality == "CT" || config.modality == "MR", "modality", "CT or MR");
      !s.ok()) {
    return s;
  }
  const imaging::Window& window = config.window;
  const bool good_window = std::isfinite(window.low) && std::isfinite(window.high) &&
                           window.low < window.high && window.low >= -32768.0 &&
                           window.high <= 32767.0;
  if (auto s = Expect(good_window, "window", "[low, high] within [-32768, 32767]"); !s.ok()) {
    return s;
  }
  const bool good_spacing = std::all_of(config.spacing.begin(), config.spacing.end(),
                                        [](double mm) { return mm >= 0.001 && mm <= 1000.0; });
  return Expect(good_spacing, "spacing", "three distances from 0.001 to 1000 mm");
}

}  // namespace

const char* ToString(Architecture architecture) {
  return architecture == Architecture::kCrfGan ? "crf-gan" : "ha-gan";
}

absl::StatusOr<Architecture> ParseArchitecture(const std::string& text) {
  if (text == "crf-gan") return Architecture::kCrfGan;
  if (text == "ha-gan") return Architecture::kHaGan;
  return absl::InvalidArgumentError("field 'architecture': crf-gan or ha-gan expected");
}

absl::Status Validate(const ModelConfig& config) {
  if (auto status = ValidateNetwork(config); !status.ok()) return status;
  if (auto status = ValidatePlace(config); !status.ok()) return status;
  if (config.plausibility_json.empty()) return absl::OkStatus();
  return ParseStrictJson(config.plausibility_json, "field 'plausibility'").status();
}

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& text, const std::string& where) {
  auto parsed = ParseStrictJson(text, where);
  if (!parsed.ok()) return parsed.status();
  ModelConfig config;
  std::string format;
  int64_t version = 0;
  std::string architecture;
  std::string crf_nodes = "released";
  std::array<double, 2> window{config.window.low, config.window.high};
  FieldReader fields(*parsed, where);
  fields.Require({"format", "format_version"});
  fields.Text("format", &format);
  if (fields.status().ok() && format != kFormat) {
    fields.Fail("format", absl::StrCat("'", kFormat, "'"));
  }
  fields.Integer("format_version", &version);
  if (version != kFormatVersion) fields.Fail("format_version", absl::StrCat(kFormatVersion));
  fields.Require({"architecture", "size", "channels", "latent_dim", "window", "spacing"});
  fields.Text("architecture", &architecture);
  fields.Integer("size", &config.size);
  fields.Integer("channels", &config.channels);
  fields.Integer("latent_dim", &config.latent_dim);
  fields.Integer("num_classes", &config.num_classes);
  fields.Texts("class_names", &config.class_names);
  fields.Text("crf_nodes", &crf_nodes);
  fields.Text("modality", &config.modality);
  fields.Numbers("window", window.data(), window.size());
  fields.Numbers("spacing", config.spacing.data(), config.spacing.size());
  fields.TextMap("provenance", &config.provenance);
  fields.Object("plausibility", &config.plausibility_json);
  fields.RefuseOthers({"format", "format_version", "architecture", "size", "channels", "latent_dim",
                       "num_classes", "class_names", "crf_nodes", "modality", "window", "spacing",
                       "provenance", "plausibility"});
  if (!fields.status().ok()) return fields.status();
  config.window = {window[0], window[1]};

  const auto prefixed = [&where](const absl::Status& status) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", status.message()));
  };
  auto parsed_architecture = ParseArchitecture(architecture);
  if (!parsed_architecture.ok()) return prefixed(parsed_architecture.status());
  config.architecture = *parsed_architecture;
  auto parsed_nodes = ParseCrfNodes(crf_nodes);
  if (!parsed_nodes.ok()) return prefixed(parsed_nodes.status());
  config.crf_nodes = *parsed_nodes;
  if (auto status = Validate(config); !status.ok()) return prefixed(status);
  return config;
}

std::string ToJson(const ModelConfig& config) {
  nlohmann::ordered_json out;
  out["format"] = kFormat;
  out["format_version"] = kFormatVersion;
  out["architecture"] = ToString(config.architecture);
  out["size"] = config.size;
  out["channels"] = config.channels;
  out["latent_dim"] = config.latent_dim;
  out["num_classes"] = config.num_classes;
  out["class_names"] = config.class_names;
  out["crf_nodes"] = config.crf_nodes == CrfNodes::kReleased ? "released" : "depth";
  out["modality"] = config.modality;
  out["window"] = {config.window.low, config.window.high};
  out["spacing"] = config.spacing;
  out["provenance"] = config.provenance;
  if (!config.plausibility_json.empty()) {
    // Through json, whose keys are sorted: equal ranges give equal bytes.
    const json ranges = json::parse(config.plausibility_json, nullptr, /*allow_exceptions=*/false);
    if (ranges.is_object()) out["plausibility"] = ranges;
  }
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace synthvol::model
