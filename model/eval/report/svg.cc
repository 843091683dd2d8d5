#include "model/eval/report/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace synthvol::model {
namespace {

constexpr double kWidth = 720;
constexpr double kLeft = 190;
constexpr double kRight = 700;
constexpr double kChartHeight = 220;
constexpr double kRow = 26;

// A linear map from values to pixels.
struct Axis {
  double low = 0;
  double high = 1;
  double from = kLeft;
  double to = kRight;

  double At(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

std::string Open(double height) {
  return absl::StrFormat(
      "<svg viewBox=\"0 0 %g %g\" width=\"%g\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">",
      kWidth, height, kWidth);
}

std::string Text(double x, double y, const std::string& anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>", x, y, anchor,
                         Escape(text));
}

std::string Line(double x1, double y1, double x2, double y2, const std::string& colour) {
  return absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>",
                         x1, y1, x2, y2, colour);
}

// Draws the horizontal axis with five figures and its label.
std::string BottomAxis(const Axis& axis, double y, const std::string& label) {
  std::string svg = Line(axis.from, y, axis.to, y, "#888");
  for (int tick = 0; tick <= 4; ++tick) {
    const double value = axis.low + (axis.high - axis.low) * tick / 4;
    svg += Line(axis.At(value), y, axis.At(value), y + 4, "#888");
    svg += Text(axis.At(value), y + 17, "middle", absl::StrFormat("%.4g", value));
  }
  return svg + Text((axis.from + axis.to) / 2, y + 34, "middle", label);
}

}  // namespace

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

const char* SeriesColour(size_t index) {
  constexpr std::array<const char*, 4> kColours = {"#333333", "#0072b2", "#d55e00", "#009e73"};
  return kColours[index % kColours.size()];
}

std::string LineChart(const std::vector<Series>& series, double x_low, double x_high,
                      const std::string& x_label) {
  double top = 1e-12;
  for (const Series& one : series) {
    for (const double value : one.values) top = std::max(top, std::sqrt(value));
  }
  const Axis x{x_low, x_high, 40, kRight};
  const Axis y{0, top, kChartHeight, 12};
  std::string svg = Open(kChartHeight + 45) + BottomAxis(x, kChartHeight, x_label);
  for (size_t s = 0; s < series.size(); ++s) {
    std::string points;
    const auto count = static_cast<double>(series[s].values.size());
    for (size_t i = 0; i < series[s].values.size(); ++i) {
      const double at = x_low + (x_high - x_low) * (static_cast<double>(i) + 0.5) / count;
      absl::StrAppendFormat(&points, "%.1f,%.1f ", x.At(at), y.At(std::sqrt(series[s].values[i])));
    }
    absl::StrAppendFormat(
        &svg, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"%s\"/>",
        SeriesColour(s), points);
    const double label_y = 22 + 18 * static_cast<double>(s);
    svg += Line(560, label_y - 4, 584, label_y - 4, SeriesColour(s));
    svg += Text(590, label_y, "start", series[s].label);
  }
  return svg + "</svg>";
}

std::string StripChart(const std::vector<Series>& series, const std::string& x_label, double line) {
  Axis x{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  const auto include = [&x](double value) {
    if (!std::isfinite(value)) return;
    x.low = std::min(x.low, value);
    x.high = std::max(x.high, value);
  };
  include(line);
  for (const Series& one : series) {
    for (const double value : one.values) include(value);
    if (one.low < one.high) {
      include(one.low);
      include(one.high);
    }
  }
  if (!(x.low < x.high)) x = {x.low - 1, x.low + 1};
  const double bottom = kRow * static_cast<double>(series.size()) + 10;
  std::string svg = Open(bottom + 45) + BottomAxis(x, bottom, x_label);
  for (size_t s = 0; s < series.size(); ++s) {
    const double y = kRow * (static_cast<double>(s) + 0.5) + 5;
    svg += Text(kLeft - 10, y + 4, "end", series[s].label);
    if (series[s].low < series[s].high) {
      absl::StrAppendFormat(&svg,
                            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"18\" "
                            "fill=\"#cfe8d5\"/>",
                            x.At(series[s].low), y - 9, x.At(series[s].high) - x.At(series[s].low));
    }
    for (const double value : series[s].values) {
      if (!std::isfinite(value)) continue;
      absl::StrAppendFormat(
          &svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\" fill-opacity=\"0.55\"/>",
          x.At(value), y, SeriesColour(s));
    }
  }
  if (std::isfinite(line)) svg += Line(x.At(line), 0, x.At(line), bottom, "#c00");
  return svg + "</svg>";
}

}  // namespace synthvol::model
