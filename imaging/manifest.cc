// The JSON form of a data set's manifest (dataset.h).
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "imaging/dataset.h"

namespace synthvol::imaging {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "synthvol-dataset";
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxSize = 4096;

// Reads the members of one JSON object and remembers the first fault, so that callers read a list
// of fields and look at status() once.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) Fail("", "expected a JSON object");
  }

  std::string Text(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return "";
    if (!value->is_string()) return Fail(key, "expected a string"), "";
    return value->get<std::string>();
  }

  int64_t Integer(const char* key, int64_t low, int64_t high) {
    const Json* value = Find(key);
    if (value == nullptr) return low;
    const bool fits =
        value->is_number_integer() &&
        !(value->is_number_unsigned() &&
          value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) &&
        value->get<int64_t>() >= low && value->get<int64_t>() <= high;
    if (!fits) {
      Fail(key, absl::StrCat("expected an integer in ", low, "..", high));
      return low;
    }
    return value->get<int64_t>();
  }

  double Number(const char* key, double low, double high) {
    const Json* value = Find(key);
    if (value == nullptr) return low;
    if (!value->is_number() || !(value->get<double>() >= low) || !(value->get<double>() <= high)) {
      Fail(key, absl::StrCat("expected a number in ", low, "..", high));
      return low;
    }
    return value->get<double>();
  }

  // Returns N finite numbers.
  template <size_t N>
  std::array<double, N> Numbers(const char* key) {
    std::array<double, N> numbers{};
    const Json* value = Find(key);
    if (value == nullptr) return numbers;
    bool good = value->is_array() && value->size() == N;
    for (size_t i = 0; good && i < N; ++i) {
      good = (*value)[i].is_number();
      if (good) numbers[i] = (*value)[i].template get<double>();
      good = good && std::isfinite(numbers[i]);
    }
    if (!good) Fail(key, absl::StrCat("expected ", N, " numbers"));
    return numbers;
  }

  imaging::Window WindowField(const char* key) {
    const std::array<double, 2> range = Numbers<2>(key);
    if (status_.ok() && range[0] >= range[1]) Fail(key, "expected low < high");
    return {range[0], range[1]};
  }

  // Returns the array, or an empty one after noting the fault.
  const Json& Array(const char* key) {
    static const Json& empty = *new Json(Json::array());
    const Json* value = Find(key);
    if (value == nullptr) return empty;
    if (!value->is_array()) return Fail(key, "expected an array"), empty;
    return *value;
  }

  const Json& Object(const char* key) {
    static const Json& empty = *new Json(Json::object());
    const Json* value = Find(key);
    if (value == nullptr) return empty;
    if (!value->is_object()) return Fail(key, "expected an object"), empty;
    return *value;
  }

  bool Has(const char* key) const { return object_.is_object() && object_.contains(key); }

  void Fail(const std::string& key, const std::string& expected) {
    if (!status_.ok()) return;
    status_ =
        absl::InvalidArgumentError(key.empty() ? absl::StrCat(where_, ": ", expected)
                                               : absl::StrCat(where_, ": ", key, ": ", expected));
  }

  const absl::Status& status() const { return status_; }

 private:
  const Json* Find(const char* key) {
    if (!status_.ok()) return nullptr;
    const auto found = object_.find(key);
    if (found == object_.end()) {
      Fail(key, "missing");
      return nullptr;
    }
    return &*found;
  }

  const Json& object_;
  const std::string where_;
  absl::Status status_;
};

// Tells whether `file` names something below the folder it is relative to.
bool StaysInside(const std::string& file) {
  if (file.empty() || file.front() == '/' || file.find('\0') != std::string::npos) return false;
  for (const absl::string_view part : absl::StrSplit(file, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

Json ItemToJson(const DatasetItem& item) {
  Json json = {{"file", item.file},
               {"source", item.source},
               {"source_sha256", item.source_digest},
               {"patient", item.patient},
               {"split", ToString(item.split)},
               {"spacing_mm", item.spacing},
               {"window", {item.window.low, item.window.high}}};
  if (item.label.has_value()) json["label"] = *item.label;
  return json;
}

absl::StatusOr<DatasetItem> ItemFromJson(const Json& json, const std::string& where) {
  Fields fields(json, where);
  DatasetItem item;
  item.file = fields.Text("file");
  item.source = fields.Text("source");
  item.source_digest = fields.Text("source_sha256");
  item.patient = fields.Text("patient");
  const std::string split = fields.Text("split");
  item.spacing = fields.Numbers<3>("spacing_mm");
  item.window = fields.WindowField("window");
  if (fields.Has("label")) {
    item.label = fields.Integer("label", 0, std::numeric_limits<int32_t>::max());
  }
  if (!StaysInside(item.file)) fields.Fail("file", "expected a path inside the data set");
  if (split != "train" && split != "validation") {
    fields.Fail("split", "expected \"train\" or \"validation\"");
  }
  for (const double spacing : item.spacing) {
    if (!(spacing > 0)) fields.Fail("spacing_mm", "expected positive numbers");
  }
  if (!fields.status().ok()) return fields.status();
  item.split = split == "train" ? Split::kTrain : Split::kValidation;
  return item;
}

absl::Status ParseItems(const Json& items, const std::string& where, DatasetManifest* manifest) {
  std::set<std::string> files;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string place = absl::StrCat(where, ": items[", i, "]");
    absl::StatusOr<DatasetItem> item = ItemFromJson(items[i], place);
    if (!item.ok()) return item.status();
    if (!files.insert(item->file).second) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": file: listed twice"));
    }
    const auto classes = static_cast<int64_t>(manifest->class_names.size());
    if (item->label.has_value() && *item->label >= classes) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": label: ", *item->label,
                                                     ": expected one of the ", classes,
                                                     " class_names (0 to ", classes - 1, ")"));
    }
    manifest->items.push_back(*std::move(item));
  }
  return absl::OkStatus();
}

// Parses with depth left to the library, which does not recurse.
Json ParseText(std::string_view text) {
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

std::string Dump(const Json& json, int indent) {
  // Paths may hold bytes that are no UTF-8; they are replaced instead of thrown at.
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string ToJson(const DatasetItem& item) { return Dump(ItemToJson(item), -1); }

absl::StatusOr<DatasetItem> ParseDatasetItem(std::string_view json, const std::string& where) {
  const Json parsed = ParseText(json);
  if (parsed.is_discarded()) return absl::InvalidArgumentError(absl::StrCat(where, ": not JSON"));
  return ItemFromJson(parsed, where);
}

std::string ToJson(const DatasetManifest& manifest) {
  Json json = {
      {"format", kFormat},
      {"version", kVersion},
      {"size", manifest.size},
      {"modality", manifest.modality},
      {"window", {manifest.window.low, manifest.window.high}},
      {"window_rule", manifest.window_rule},
      {"split", {{"train_fraction", manifest.train_fraction}, {"seed", manifest.split_seed}}},
      {"class_names", manifest.class_names},
      {"counts",
       {{"items", manifest.items.size()},
        {"train", manifest.Count(Split::kTrain)},
        {"validation", manifest.Count(Split::kValidation)},
        {"failures", manifest.failures.size()}}},
      {"items", Json::array()},
      {"failures", Json::array()}};
  for (const DatasetItem& item : manifest.items) json["items"].push_back(ItemToJson(item));
  for (const DatasetFailure& failure : manifest.failures) {
    json["failures"].push_back({{"source", failure.source}, {"reason", failure.reason}});
  }
  return Dump(json, 1) + "\n";
}

absl::StatusOr<DatasetManifest> ParseManifest(std::string_view text, const std::string& where) {
  const Json json = ParseText(text);
  if (json.is_discarded()) return absl::InvalidArgumentError(absl::StrCat(where, ": not JSON"));
  Fields fields(json, where);
  if (fields.Text("format") != kFormat) fields.Fail("format", absl::StrCat("expected ", kFormat));
  fields.Integer("version", kVersion, kVersion);
  DatasetManifest manifest;
  manifest.size = fields.Integer("size", 1, kMaxSize);
  manifest.modality = fields.Text("modality");
  if (manifest.modality != "CT" && manifest.modality != "MR") {
    fields.Fail("modality", "expected \"CT\" or \"MR\"");
  }
  manifest.window = fields.WindowField("window");
  manifest.window_rule = fields.Text("window_rule");
  Fields split(fields.Object("split"), absl::StrCat(where, ": split"));
  manifest.train_fraction = split.Number("train_fraction", 0, 1);
  manifest.split_seed =
      static_cast<uint64_t>(split.Integer("seed", 0, std::numeric_limits<int64_t>::max()));
  for (const Json& name : fields.Array("class_names")) {
    if (!name.is_string()) fields.Fail("class_names", "expected strings");
    manifest.class_names.push_back(name.is_string() ? name.get<std::string>() : "");
  }
  for (const Json& failure : fields.Array("failures")) {
    Fields entry(failure, absl::StrCat(where, ": failures"));
    manifest.failures.push_back({entry.Text("source"), entry.Text("reason")});
    if (!entry.status().ok()) return entry.status();
  }
  const Json& items = fields.Array("items");
  if (!fields.status().ok()) return fields.status();
  if (!split.status().ok()) return split.status();
  if (absl::Status status = ParseItems(items, where, &manifest); !status.ok()) return status;
  return manifest;
}

}  // namespace synthvol::imaging
