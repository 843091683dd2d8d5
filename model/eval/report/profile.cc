#include "model/eval/report/profile.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/checkpoint/strict_json.h"
#include "model/eval/report/svg.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

constexpr double kGiB = 1 << 30;

// The cells of one table: what they have in common, and each by (batch size, architecture).
struct Table {
  std::set<std::string> architectures;
  std::set<int64_t> batches;
  std::map<std::pair<int64_t, std::string>, json> cells;
};

// A figure of a cell.
struct Figure {
  const char* name;
  const char* format;
  std::function<double(const json&)> of;
};

absl::Status CheckCell(const json& cell, const std::string& where) {
  const auto wrong = [&](const char* field, const char* expected) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", field, ": expected ", expected));
  };
  if (!cell.is_object()) return wrong("cell", "objects of synthvol-train profile --json");
  for (const char* field : {"arch", "device"}) {
    if (!cell.contains(field) || !cell[field].is_string()) return wrong(field, "a string");
  }
  for (const char* field : {"size", "batch_size", "threads"}) {
    if (!cell.contains(field) || !cell[field].is_number_integer()) {
      return wrong(field, "a whole number");
    }
  }
  for (const char* field : {"parameters", "seconds_per_iteration", "peak_bytes"}) {
    if (!cell.contains(field) || !cell[field].is_number() || !(cell[field].get<double>() > 0)) {
      return wrong(field, "a number above 0");
    }
  }
  return absl::OkStatus();
}

// Returns one row: a cell for each architecture, and the first over the second when there are two.
std::string FigureRow(const Table& table, int64_t batch, const std::string& title,
                      const Figure& figure) {
  std::string row = absl::StrCat("<tr><th>", title, "</th>");
  std::vector<double> values;
  for (const std::string& architecture : table.architectures) {
    const auto cell = table.cells.find({batch, architecture});
    if (cell == table.cells.end()) {
      absl::StrAppend(&row, "<td>n/a</td>");
      continue;
    }
    values.push_back(figure.of(cell->second));
    const auto format = absl::ParsedFormat<'f'>::New(figure.format);
    absl::StrAppend(&row, "<td>", absl::StrFormat(*format, values.back()), "</td>");
  }
  if (table.architectures.size() == 2) {
    absl::StrAppend(
        &row, "<td>",
        values.size() == 2 ? absl::StrFormat("%.2f", values[0] / values[1]) : std::string("n/a"),
        "</td>");
  }
  return row + "</tr>\n";
}

std::string Render(const std::string& title, const Table& table) {
  std::string html = absl::StrCat("<table>\n<tr><th>", title, "</th>");
  for (const std::string& architecture : table.architectures) {
    absl::StrAppend(&html, "<th>", Escape(architecture), "</th>");
  }
  if (table.architectures.size() == 2) {
    absl::StrAppend(&html, "<th>", Escape(*table.architectures.begin()), " / ",
                    Escape(*table.architectures.rbegin()), "</th>");
  }
  html += "</tr>\n";
  const auto number = [](const char* key, double scale) {
    return [key, scale](const json& cell) { return cell[key].get<double>() / scale; };
  };
  html += FigureRow(table, *table.batches.begin(), "parameters, millions",
                    {"parameters", "%.3f", number("parameters", 1e6)});
  const std::vector<Figure> figures = {
      {"peak memory, GiB", "%.2f", number("peak_bytes", kGiB)},
      {"seconds an iteration", "%.3f", number("seconds_per_iteration", 1)},
      {"iterations a second", "%.3f",
       [](const json& cell) { return 1 / cell["seconds_per_iteration"].get<double>(); }}};
  for (const Figure& figure : figures) {
    for (const int64_t batch : table.batches) {
      html += FigureRow(table, batch, absl::StrCat(figure.name, ", batch ", batch), figure);
    }
  }
  return html + "</table>\n";
}

}  // namespace

absl::StatusOr<json> ParseProfile(const std::string& text, const std::string& where) {
  auto cells = ParseStrictJsonValue(text, where);
  if (!cells.ok()) return cells.status();
  if (!cells->is_array() || cells->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected the array that synthvol-train profile --json writes"));
  }
  for (const json& cell : *cells) {
    if (auto status = CheckCell(cell, where); !status.ok()) return status;
  }
  return cells;
}

std::string ProfileTables(const json& cells) {
  std::map<std::string, Table> tables;
  for (const json& cell : cells) {
    const std::string title = absl::StrCat(cell["size"].get<int64_t>(), " voxels a side, ",
                                           Escape(cell["device"].get<std::string>()), ", ",
                                           cell["threads"].get<int64_t>(), " threads");
    Table& table = tables[title];
    const auto batch = cell["batch_size"].get<int64_t>();
    const auto architecture = cell["arch"].get<std::string>();
    table.architectures.insert(architecture);
    table.batches.insert(batch);
    table.cells[{batch, architecture}] = cell;
  }
  std::string html;
  for (const auto& [title, table] : tables) html += Render(title, table);
  return html +
         "<p>Memory is the peak resident set of a process of its own for each cell; an iteration "
         "is "
         "the fastest of those measured after one that warmed up.</p>\n";
}

}  // namespace synthvol::model
