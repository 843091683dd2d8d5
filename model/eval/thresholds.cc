#include "model/eval/thresholds.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/checkpoint/strict_json.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

// Follows a dotted path; NaN when it does not lead to a number.
double Find(const json& evaluation, const std::string& figure) {
  const json* node = &evaluation;
  const std::vector<std::string> path = absl::StrSplit(figure, '.');
  for (const std::string& key : path) {
    if (!node->is_object() || !node->contains(key)) return std::nan("");
    node = &node->at(key);
  }
  return node->is_number() ? node->get<double>() : std::nan("");
}

json Check(const json& evaluation, const Limit& limit) {
  const double value = Find(evaluation, limit.figure);
  std::string reason;
  if (std::isnan(value)) {
    reason = "was not measured";
  } else if (value > limit.max) {
    reason = absl::StrCat("is ", value, ", at most ", limit.max, " allowed");
  } else if (value < limit.min) {
    reason = absl::StrCat("is ", value, ", at least ", limit.min, " needed");
  }
  json check = {{"figure", limit.figure},
                {"value", std::isnan(value) ? json(nullptr) : json(value)},
                {"passed", reason.empty()},
                {"reason", reason}};
  if (std::isfinite(limit.min)) check["min"] = limit.min;
  if (std::isfinite(limit.max)) check["max"] = limit.max;
  return check;
}

}  // namespace

absl::StatusOr<std::vector<Limit>> ParseThresholds(const std::string& text,
                                                   const std::string& where) {
  const auto root = ParseStrictJson(text, where);
  if (!root.ok()) return root.status();
  if (!root->contains("format") || root->at("format") != 1) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": format: expected 1"));
  }
  const json limits = root->value("limits", json());
  if (!limits.is_object() || limits.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": limits: expected an object of figures with min or max"));
  }
  std::vector<Limit> parsed;
  for (const auto& [figure, bounds] : limits.items()) {
    Limit limit{figure};
    bool good = bounds.is_object() && !bounds.empty();
    for (const auto& [key, bound] : bounds.items()) {
      good = good && bound.is_number() && (key == "min" || key == "max");
      if (good) (key == "min" ? limit.min : limit.max) = bound.get<double>();
    }
    if (!good) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": limits.", figure, ": expected {\"min\": number, \"max\": number}"));
    }
    parsed.push_back(limit);
  }
  return parsed;
}

json CheckThresholds(const json& evaluation, const std::vector<Limit>& limits) {
  bool passed = true;
  json checks = json::array();
  for (const Limit& limit : limits) {
    checks.push_back(Check(evaluation, limit));
    passed = passed && checks.back()["passed"].get<bool>();
  }
  return {{"passed", passed}, {"checks", checks}};
}

}  // namespace synthvol::model
