// The report's page.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/eval/report/profile.h"
#include "model/eval/report/report.h"
#include "model/eval/report/svg.h"
#include "model/eval/study/analyze.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

// Below so many volumes a side, the report warns.
constexpr int64_t kFewVolumes = 50;

constexpr const char* kStyle =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c2126}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px "
    "solid "
    "#ccd}table{border-collapse:collapse;margin:.6rem 0}td,th{border:1px solid #ccd;padding:.25rem "
    ".6rem;text-align:left;vertical-align:top}th{background:#f2f4f7}img{max-width:100%;background:"
    "#000}figure{margin:0 1rem 1rem "
    "0;display:inline-block;vertical-align:top}.row{display:flex}.row "
    "figure{flex:0 1 auto}.pass{color:#0a6b2d;"
    "font-weight:600}.fail{color:#b00020;font-weight:600}.warn{background:#fff4d6;padding:.5rem "
    ".8rem;border-left:4px solid #d9a400}pre{white-space:pre-wrap;background:#f2f4f7;padding:.8rem}"
    "svg{overflow:visible}svg text{font-size:12px;font-family:system-ui,sans-serif}";

std::string Number(const json& value) {
  if (!value.is_number()) return value.is_string() ? Escape(value.get<std::string>()) : "n/a";
  return absl::StrFormat("%.5g", value.get<double>());
}

std::string Row(const std::string& name, const std::vector<std::string>& cells) {
  std::string row = absl::StrCat("<tr><th>", name, "</th>");
  for (const std::string& cell : cells) absl::StrAppend(&row, "<td>", cell, "</td>");
  return row + "</tr>\n";
}

std::string WithInterval(const json& figures, const char* key) {
  if (!figures.is_object()) return "n/a";
  const json& interval = figures["interval"];
  std::string cell = Number(figures[key]);
  if (interval["replicates"].get<int>() > 0) {
    absl::StrAppend(&cell, " <small>(", Number(interval["low"]), " to ", Number(interval["high"]),
                    ")</small>");
  }
  return absl::StrCat(cell, "<br><small>", Number(figures["real_volumes"]), " real, ",
                      Number(figures["synthetic_volumes"]), " other volumes</small>");
}

std::string Verdict(bool passed, const std::string& good, const std::string& bad) {
  return passed ? absl::StrCat("<span class=\"pass\">", good, "</span>")
                : absl::StrCat("<span class=\"fail\">", bad, "</span>");
}

std::string CopiesCell(const json& memorisation) {
  return absl::StrCat(Verdict(memorisation["passed"].get<bool>(), "no copies", "COPIES"),
                      "<br><small>voxel space ", Number(memorisation["voxel"]["copies"]),
                      ", feature space ", Number(memorisation["feature"]["copies"]), " of ",
                      Number(memorisation["generated_volumes"]), "</small>");
}

// The table of figures: a column for each generator, and one for unseen real volumes.
std::string FigureTable(const ReportData& data) {
  std::vector<std::string> heads, fid, mmd, p, ssim, copies, gate;
  for (const json& model : data.models) {
    heads.push_back(Escape(model["label"].get<std::string>()));
    fid.push_back(WithInterval(model["fid"], "value"));
    mmd.push_back(WithInterval(model["mmd"], "unbiased"));
    p.push_back(Number(model["mmd"]["permutation_p"]));
    const json& own = model["diversity"]["ms_ssim"];
    ssim.push_back(absl::StrCat(
        Number(own["mean"]), " &plusmn; ", Number(own["standard_deviation"]), "<br><small>",
        Number(own["pairs"]), " pairs, ", Number(own["scales"]), " scales</small>"));
    copies.push_back(CopiesCell(model["memorisation"]));
    gate.push_back(absl::StrCat(Number(model["plausibility"]["rejected"]), " of ",
                                Number(model["plausibility"]["volumes"]), " rejected"));
  }
  const json& real = data.models.front()["diversity"]["real_ms_ssim"];
  heads.push_back("real, held out");
  const json none;
  fid.push_back(WithInterval(data.baseline.is_object() ? data.baseline["fid"] : none, "value"));
  mmd.push_back(WithInterval(data.baseline.is_object() ? data.baseline["mmd"] : none, "unbiased"));
  p.push_back(data.baseline.is_object() ? Number(data.baseline["mmd"]["permutation_p"]) : "n/a");
  ssim.push_back(absl::StrCat(Number(real["mean"]), " &plusmn; ",
                              Number(real["standard_deviation"]),
                              "<br><small>training pairs</small>"));
  copies.push_back("the reference");
  gate.push_back("the reference");
  return absl::StrCat("<table>", Row("Against training volumes", heads),
                      Row("FID <small>lower is nearer</small>", fid),
                      Row("MMD&sup2; unbiased", mmd), Row("MMD permutation p", p),
                      Row("MS-SSIM of pairs <small>higher is less diverse</small>", ssim),
                      Row("Memorisation", copies), Row("Plausibility gate", gate), "</table>\n");
}

std::string Image(const std::string& png, const std::string& caption) {
  std::string encoded;
  absl::Base64Escape(png, &encoded);
  return absl::StrCat("<figure><img alt=\"", Escape(caption), "\" src=\"data:image/png;base64,",
                      encoded, "\"><figcaption>", Escape(caption), "</figcaption></figure>\n");
}

std::string Histograms(const ReportData& data) {
  std::vector<Series> series;
  for (size_t i = 0; i < data.labels.size(); ++i) {
    series.push_back({data.labels[i], data.histograms[i]});
  }
  return LineChart(series, data.window_low, data.window_high,
                   "stored units (HU for CT); share of voxels, square-root axis");
}

// One strip chart a figure: every volume of every generator against the allowed range.
std::string PlausibilityCharts(const ReportData& data) {
  std::string html;
  const json& figures = data.models.front()["plausibility"]["ranges"]["figures"];
  for (const auto& [name, range] : figures.items()) {
    std::vector<Series> rows;
    rows.push_back({"allowed", {}, range["allowed"][0], range["allowed"][1]});
    for (const json& model : data.models) {
      Series row{model["label"].get<std::string>(), {}};
      for (const json& volume : model["figures"]) {
        if (volume.contains(name) && volume[name].is_number()) row.values.push_back(volume[name]);
      }
      rows.push_back(row);
    }
    absl::StrAppend(&html, StripChart(rows, name, std::numeric_limits<double>::quiet_NaN()));
  }
  return html;
}

// Says what the distances are compared with: much hangs on how many real volumes that were.
std::string MemorisationReference(const json& memorisation) {
  const std::string reference =
      memorisation["leave_one_out"].get<bool>()
          ? "each training volume against the others, since there are no held-out ones"
          : absl::StrCat(Number(memorisation["held_out_volumes"]), " held-out real volumes");
  return absl::StrCat("<p>Nearest of ", Number(memorisation["training_volumes"]),
                      " training volumes. Reference (real): ", reference,
                      "; nearer than half of their median is a copy.</p>\n");
}

std::string MemorisationCharts(const ReportData& data) {
  std::string html = MemorisationReference(data.models.front()["memorisation"]);
  for (const char* space : {"voxel", "feature"}) {
    std::vector<Series> rows;
    const json& first = data.models.front()["memorisation"][space];
    rows.push_back({"real", first["real_distances"].get<std::vector<double>>()});
    for (const json& model : data.models) {
      const json& test = model["memorisation"][space];
      rows.push_back({model["label"].get<std::string>(),
                      test["generated_distances"].get<std::vector<double>>()});
    }
    absl::StrAppend(&html, StripChart(rows,
                                      absl::StrCat("RMS distance to the nearest training volume, ",
                                                   space, " space; red: copies lie left of it"),
                                      first["threshold"].get<double>()));
  }
  for (size_t i = 0; i < data.closest.size(); ++i) {
    absl::StrAppend(&html,
                    Image(data.closest[i],
                          absl::StrCat(data.models[i]["label"].get<std::string>(),
                                       ": closest pairs, each a generated volume and below it its "
                                       "nearest training volume")));
  }
  return html;
}

std::string DiversityChart(const ReportData& data) {
  std::vector<Series> rows = {{"", {}}};
  for (const json& model : data.models) {
    rows.push_back({model["label"].get<std::string>(),
                    model["diversity"]["ms_ssim"]["values"].get<std::vector<double>>()});
  }
  return StripChart(rows, "MS-SSIM of generated pairs; red: mean of real pairs",
                    data.models.front()["diversity"]["real_ms_ssim"]["mean"].get<double>());
}

std::string GateTable(const json& gate) {
  std::string html = absl::StrCat("<table>", Row("Figure", {"value", "verdict"}));
  for (const json& check : gate["checks"]) {
    html += Row(Escape(check["figure"].get<std::string>()),
                {Number(check["value"]), Verdict(check["passed"].get<bool>(), "within limits",
                                                 Escape(check["reason"].get<std::string>()))});
  }
  return html + "</table>\n";
}

std::string GateSection(const ReportData& data) {
  std::string html;
  for (const json& model : data.models) {
    const json& gate = model["gate"];
    if (!gate.is_object()) {
      return "<p class=\"warn\">No thresholds were given (<code>--gate</code>): nothing here says "
             "that a generator may serve.</p>\n";
    }
    absl::StrAppend(
        &html, "<p>", Escape(model["label"].get<std::string>()), ": ",
        Verdict(gate["passed"].get<bool>(), "passed, all figures are within their limits.",
                "failed, this generator should not serve."),
        "</p>", GateTable(gate));
  }
  const json& checks = data.models.front()["gate"]["checks"];
  const bool judges_likeness = std::any_of(checks.begin(), checks.end(), [](const json& check) {
    const auto figure = check["figure"].get<std::string>();
    return figure.starts_with("fid.") || figure.starts_with("mmd.");
  });
  if (!judges_likeness) {
    html +=
        "<p class=\"warn\">These limits have none on FID or MMD: they refuse what is wrong in "
        "known "
        "ways, and do not judge anatomy. Look at the pictures.</p>\n";
  }
  return html;
}

// Shows any JSON of names and figures as nested tables.
std::string AnyTable(const json& value) {
  if (value.is_object()) {
    std::string html = "<table>";
    for (const auto& [key, inner] : value.items()) html += Row(Escape(key), {AnyTable(inner)});
    return html + "</table>";
  }
  if (value.is_array()) {
    std::string html;
    for (const json& inner : value) html += AnyTable(inner) + " ";
    return html;
  }
  return value.is_boolean() ? (value.get<bool>() ? "yes" : "no") : Number(value);
}

// Warns of what few volumes do to the figures; empty when there are enough.
std::string SampleSizeWarning(const json& fid) {
  const auto real = fid["real_volumes"].get<int64_t>();
  const auto generated = fid["synthetic_volumes"].get<int64_t>();
  if (std::min(real, generated) >= kFewVolumes) return "";
  return absl::StrCat("<p class=\"warn\">", real, " real and ", generated,
                      " generated volumes are few: FID is biased upwards, and the figures compare "
                      "with others of the same counts only.</p>\n");
}

std::string Section(const std::string& title, const std::string& body) {
  return absl::StrCat("<h2>", title, "</h2>\n", body, "\n");
}

}  // namespace

std::string ToHtml(const ReportData& data) {
  const auto extractor = data.provenance["extractor"].get<std::string>();
  std::string html = absl::StrCat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Evaluation of ",
      Escape(data.labels[1]), "</title><style>", kStyle,
      "</style></head><body>\n<h1>Evaluation of ", Escape(data.labels[1]),
      data.labels.size() > 2 ? " beside " + Escape(data.labels[2]) : "", "</h1>\n");
  absl::StrAppend(&html, Section("May it serve?", GateSection(data)));
  absl::StrAppend(&html, Section("Figures", FigureTable(data)), "<p>Extractor: ", Escape(extractor),
                  "</p>\n");
  if (extractor.find("RANDOM") != std::string::npos) {
    html +=
        "<p class=\"warn\">The feature network is untrained: FID and MMD here compare only with "
        "other figures of the same random network, and not with published ones.</p>\n";
  }
  html += SampleSizeWarning(data.models.front()["fid"]);
  std::string montages = "<div class=\"row\">";
  for (size_t i = 0; i < data.labels.size(); ++i)
    montages += Image(data.montages[i], data.labels[i]);
  absl::StrAppend(&html, Section("Mid-planes: axial, coronal, sagittal", montages + "</div>"));
  absl::StrAppend(&html, Section("Intensities", Histograms(data)));
  absl::StrAppend(&html, Section("Diversity", DiversityChart(data)));
  absl::StrAppend(&html, Section("Memorisation", MemorisationCharts(data)));
  absl::StrAppend(&html, Section("Plausibility", PlausibilityCharts(data)));
  if (data.study.is_object()) {
    absl::StrAppend(&html,
                    Section("Reader study", "<pre>" + Escape(StudyInWords(data.study)) + "</pre>"));
  }
  if (data.profile.is_array()) {
    absl::StrAppend(&html, Section("Speed and memory of training", ProfileTables(data.profile)));
  }
  std::string samples = AnyTable(data.provenance);
  for (const json& model : data.models) {
    absl::StrAppend(&samples, "<p>", Escape(model["label"].get<std::string>()), ": ",
                    Escape(model["sample"].get<std::string>()), "</p>");
  }
  return absl::StrCat(html, Section("Provenance", samples), "</body></html>\n");
}

}  // namespace synthvol::model
