// Small charts as inline SVG. Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_REPORT_SVG_H_
#define SYNTHVOL_MODEL_EVAL_REPORT_SVG_H_

#include <string>
#include <vector>

namespace synthvol::model {

// Escapes text for HTML and SVG.
std::string Escape(const std::string& text);

// One line of a line chart, or one row of a strip chart.
struct Series {
  std::string label;
  std::vector<double> values;
  // Shaded on a strip chart when low < high: the range that is allowed.
  double low = 0;
  double high = 0;
};

// Draws values at equal steps from `x_low` to `x_high`, one line a series, on a square-root axis so
// that small shares stay visible.
std::string LineChart(const std::vector<Series>& series, double x_low, double x_high,
                      const std::string& x_label);

// Draws one row a series, a mark a value, on one common axis; `line` is a vertical mark (a
// threshold) when it is finite.
std::string StripChart(const std::vector<Series>& series, const std::string& x_label, double line);

// Returns the colour of series `index`, as used by both charts.
const char* SeriesColour(size_t index);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_REPORT_SVG_H_
