// PlausibilityRanges as JSON, which travels in config.json.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/strict_json.h"
#include "model/eval/gate/plausibility.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr size_t kMaxEntries = 64;

// JSON has no infinity: an open end is null.
json Bound(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

absl::Status Wrong(const std::string& where, const std::string& field, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", field, ": expected ", expected));
}

// Reads a pair of bounds in ascending order; null stands for -infinity and +infinity.
std::optional<std::pair<double, double>> Pair(const json& object, const char* key,
                                              bool may_be_open) {
  if (!object.is_object() || !object.contains(key)) return std::nullopt;
  const json& pair = object.at(key);
  if (!pair.is_array() || pair.size() != 2) return std::nullopt;
  for (const json& bound : pair) {
    if (!bound.is_number() && !(may_be_open && bound.is_null())) return std::nullopt;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double low = pair[0].is_null() ? -kInfinity : pair[0].get<double>();
  const double high = pair[1].is_null() ? kInfinity : pair[1].get<double>();
  if (!(low <= high)) return std::nullopt;
  return std::make_pair(low, high);
}

absl::StatusOr<std::vector<IntensityRegion>> ParseRegions(const json& root,
                                                          const std::string& where) {
  const json regions = root.value("regions", json());
  if (!regions.is_array() || regions.empty() || regions.size() > kMaxEntries) {
    return Wrong(where, "regions", "1 to 64 regions");
  }
  std::vector<IntensityRegion> parsed;
  for (const json& region : regions) {
    const auto range = Pair(region, "range", /*may_be_open=*/true);
    if (!range || !region.contains("name") || !region.at("name").is_string()) {
      return Wrong(where, "regions", "objects with name and range [low, high]");
    }
    parsed.push_back({region.at("name").get<std::string>(), range->first, range->second});
  }
  return parsed;
}

}  // namespace

std::string PlausibilityRanges::ToJson() const {
  json regions = json::array();
  for (const IntensityRegion& region : regions_) {
    regions.push_back({{"name", region.name}, {"range", {Bound(region.low), Bound(region.high)}}});
  }
  json ranges = json::object();
  for (const auto& [figure, range] : ranges_) {
    ranges[figure] = {{"observed", {range.observed_low, range.observed_high}},
                      {"allowed", {range.low, range.high}}};
  }
  return json{{"format", kFormat},
              {"volumes", volumes_},
              {"window", {window_.low, window_.high}},
              {"regions", regions},
              {"figures", ranges}}
      .dump();
}

absl::StatusOr<PlausibilityRanges> PlausibilityRanges::Parse(const std::string& text,
                                                             const std::string& where) {
  const auto root = ParseStrictJson(text, where);
  if (!root.ok()) return root.status();
  if (!root->contains("format") || root->at("format") != kFormat) {
    return Wrong(where, "format", "1");
  }
  PlausibilityRanges parsed;
  if (!root->contains("volumes") || !root->at("volumes").is_number_integer()) {
    return Wrong(where, "volumes", "the number of training volumes");
  }
  parsed.volumes_ = root->at("volumes").get<int64_t>();
  const auto window = Pair(*root, "window", /*may_be_open=*/false);
  if (!window || window->first == window->second) return Wrong(where, "window", "[low, high]");
  parsed.window_ = {window->first, window->second};
  auto regions = ParseRegions(*root, where);
  if (!regions.ok()) return regions.status();
  parsed.regions_ = *std::move(regions);
  const json figures = root->value("figures", json());
  if (!figures.is_object() || figures.empty() || figures.size() > kMaxEntries) {
    return Wrong(where, "figures", "an object of 1 to 64 figures");
  }
  for (const auto& [name, figure] : figures.items()) {
    const auto observed = Pair(figure, "observed", /*may_be_open=*/false);
    const auto allowed = Pair(figure, "allowed", /*may_be_open=*/false);
    if (!observed || !allowed) {
      return Wrong(where, absl::StrCat("figures.", name),
                   "observed and allowed, each [low, high] in ascending order");
    }
    parsed.ranges_[name] = {observed->first, observed->second, allowed->first, allowed->second};
  }
  return parsed;
}

}  // namespace synthvol::model
