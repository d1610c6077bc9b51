#include "tools/report_html.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/evaluation.h"
#include "tools/table.h"

namespace tally::tools {
namespace {

using Points = std::vector<std::pair<double, double>>;

std::string Short(double value) {
  return absl::StrCat(std::fabs(value) >= 0.1 ? std::round(value * 1000) / 1000 : value);
}

// Axes with their extremes, a line, and marked points.
std::string Plot(const std::string& x_title, const std::string& y_title, const Points& line, const Points& marks) {
  constexpr double kWidth = 560, kHeight = 240, kLeft = 60, kBottom = 40, kTop = 12, kRight = 12;
  Points all = line;
  all.insert(all.end(), marks.begin(), marks.end());
  const auto finite = [](const std::pair<double, double>& p) {
    return std::isfinite(p.first) && std::isfinite(p.second);
  };
  if (all.empty() || !std::all_of(all.begin(), all.end(), finite)) return "";
  auto [low_x, high_x] = std::minmax_element(all.begin(), all.end());
  const double x0 = low_x->first, x1 = std::max(high_x->first, x0 + 1e-9);
  double y0 = all[0].second, y1 = y0;
  for (const auto& [x, y] : all) y0 = std::min(y0, y), y1 = std::max(y1, y);
  y1 = std::max(y1, y0 + 1e-9);
  const auto at = [&](const std::pair<double, double>& p) {
    return std::pair(kLeft + (p.first - x0) / (x1 - x0) * (kWidth - kLeft - kRight),
                     kHeight - kBottom - (p.second - y0) / (y1 - y0) * (kHeight - kBottom - kTop));
  };
  std::string svg = absl::StrCat("<svg width=\"", kWidth, "\" height=\"", kHeight,
                                 "\"><polyline fill=\"none\" stroke=", "\"#2266aa\" stroke-width=\"1.5\" points=\"");
  for (const auto& p : line) absl::StrAppend(&svg, Fixed(at(p).first, 1), ",", Fixed(at(p).second, 1), " ");
  svg += "\"/>";
  for (const auto& p : marks) {
    absl::StrAppend(&svg, "<circle r=\"3.5\" fill=\"#cc4422\" cx=\"", Fixed(at(p).first, 1), "\" cy=\"",
                    Fixed(at(p).second, 1), "\"><title>", Short(p.first), ", ", Short(p.second), "</title></circle>");
  }
  const auto text = [&](double x, double y, const char* anchor, const std::string& words) {
    absl::StrAppend(&svg, "<text font-size=\"11\" x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\">",
                    EscapeHtml(words), "</text>");
  };
  text(kLeft, kHeight - kBottom + 16, "middle", Short(x0));
  text(kWidth - kRight, kHeight - kBottom + 16, "end", Short(x1));
  text(kLeft - 6, kHeight - kBottom, "end", Short(y0));
  text(kLeft - 6, kTop + 8, "end", Short(y1));
  text((kLeft + kWidth) / 2, kHeight - 8, "middle", absl::StrCat(y_title, " against ", x_title));
  return svg + "</svg>\n";
}

// The histogram of |x| with the codebook's magnitudes below it.
std::string HistogramSvg(const TensorReport& t) {
  constexpr double kWidth = 560, kHeight = 90, kTicks = 14;
  const Distribution& d = t.distribution;
  if (d.shares.empty() || !(d.limit > 0)) return "";
  const double largest = *std::max_element(d.shares.begin(), d.shares.end());
  if (!(largest > 0)) return "";
  std::string svg = absl::StrCat("<svg width=\"", kWidth, "\" height=\"", kHeight, "\">");
  const double width = kWidth / static_cast<double>(d.shares.size());
  for (size_t i = 0; i < d.shares.size(); ++i) {
    const double height = d.shares[i] / largest * (kHeight - kTicks - 2);
    absl::StrAppend(&svg, "<rect fill=\"#9bb8d8\" x=\"", Fixed(static_cast<double>(i) * width, 1), "\" y=\"",
                    Fixed(kHeight - kTicks - height, 1), "\" width=\"", Fixed(width - 0.5, 1), "\" height=\"",
                    Fixed(height, 1), "\"/>");
  }
  const std::vector<double> values = t.codebook.Values();
  for (int i = 1; i <= t.codebook.magnitudes(); ++i) {
    const double x = values[static_cast<size_t>(i)] / d.limit * (kWidth - 1);
    if (x > kWidth) break;
    absl::StrAppend(&svg, "<line stroke=\"#cc4422\" x1=\"", Fixed(x, 1), "\" x2=\"", Fixed(x, 1), "\" y1=\"",
                    kHeight - kTicks, "\" y2=\"", kHeight, "\"/>");
  }
  return svg + "</svg>\n";
}

std::string Percent(double ratio) { return absl::StrCat(Fixed(100 * ratio, 2), " %"); }

// Which distribution is the nearest.
std::string Nearest(const Distribution& d) {
  if (d.exponential + d.normal + d.laplace + d.uniform == 0) return "-";  // nothing but zeros
  const std::pair<double, const char*> families[] = {
      {d.exponential, "exponential"}, {d.normal, "normal"}, {d.laplace, "Laplace"}, {d.uniform, "uniform"}};
  return std::min_element(std::begin(families), std::end(families))->second;
}

std::string TensorTable(const ConvertReport& report) {
  Table table({"tensor", "kind", ">elements", ">n", ">bits", "grid", ">base", ">alpha", ">beta", ">RMAE",
               ">uniform RMAE", "levels", ">output error", "nearest", ">exponential", ">normal", ">Laplace",
               ">uniform"});
  for (const TensorReport& t : report.tensors) {
    if (t.codebook.exponent_bits == 0) continue;
    const int bits = t.codebook.stored_bits();
    const auto error = t.output_errors.find(bits);
    const Distribution& d = t.distribution;
    table.Add({Shown(t.tensor, 40), t.is_weight ? "weight" : "activation", absl::StrCat(t.elements),
               absl::StrCat(t.codebook.exponent_bits), absl::StrCat(bits), GridName(t.codebook.grid),
               Fixed(t.codebook.base, 4), absl::StrCat(t.codebook.alpha), absl::StrCat(t.codebook.beta),
               Fixed(t.rmae, 4), Fixed(t.rmae_uniform_clipped, 4),
               t.rmae <= t.rmae_uniform_clipped ? "exponents win" : "uniform ones would win",
               error == t.output_errors.end() ? "-" : Percent(error->second), Nearest(d), Fixed(d.exponential, 3),
               Fixed(d.normal, 3), Fixed(d.laplace, 3), Fixed(d.uniform, 3)});
  }
  return table.Html();
}

std::string FrontHtml(const ConvertReport& report) {
  std::string html;
  if (!report.front.empty()) {
    Points line;
    for (const auto& p : report.front) line.emplace_back(p.weight_bits, 10 * std::log10(std::max(p.error, 1e-12)));
    double chosen = 0;
    for (const TensorReport& t : report.tensors) {
      const auto error = t.output_errors.find(t.codebook.stored_bits());
      if (t.is_weight && error != t.output_errors.end()) chosen += error->second;
    }
    const Points mark = {{report.weight_bits_mean, 10 * std::log10(std::max(chosen, 1e-12))}};
    absl::StrAppend(&html,
                    "<h2>Size against error</h2><p>The least error of the network's output that its weights "
                    "cause (estimated from each tensor's own, in dB below the output) by their mean stored bits; red: "
                    "this file.</p>\n",
                    Plot("mean stored bits of the weights", "output error, dB", line, mark));
  }
  if (report.steps.empty()) return html;
  Points tried;
  Table table({">weight bits", ">activation bits", ">" + report.metric, ">drop", ">expected drop"});
  for (const auto& s : report.steps) {
    tried.emplace_back(s.weight_bits, s.value);
    table.Add({Fixed(s.weight_bits, 3), Fixed(s.activation_bits, 3), ValueText(report.metric, s.value),
               DropText(s.drop), DropText(s.expected_drop)});
  }
  std::sort(tried.begin(), tried.end());
  absl::StrAppend(&html, "<h2>Points that were tried</h2>\n",
                  Plot("mean stored bits of the weights", report.metric, tried, tried), table.Html());
  return html;
}

}  // namespace

std::string ReportHtml(const ConvertReport& report, const std::string& title, const std::string& environment) {
  Table summary({"", ">"});
  summary.Add({"mean stored bits of the weights", Fixed(report.weight_bits_mean, 3)});
  summary.Add({"mean exponent bits of the weights", Fixed(report.weight_exponent_bits_mean, 3)});
  summary.Add({"mean stored bits of the activations", Fixed(report.activation_bits_mean, 3)});
  if (report.selection_samples > 0) {
    summary.Add({report.metric + " of the float model", ValueText(report.metric, report.float_value)});
    summary.Add({report.metric + " quantized", ValueText(report.metric, report.quantized_value)});
    summary.Add({"drop, paired by sample", DropText(report.drop)});
    if (report.expected_drop) {
      summary.Add({"drop that the float model's probabilities lead to expect", DropText(report.expected_drop)});
    }
    summary.Add({"samples", absl::StrCat(report.selection_samples)});
    if (!report.goal_reached) summary.Add({"goal", "out of reach: this is the best point"});
  }
  std::string body = absl::StrCat(
      summary.Html(), FrontHtml(report),
      "<h2>Tensors</h2><p>RMAE: sum |x - x^| / sum |x|, x^ the level of the codebook nearest to x (compensated "
      "rounding "
      "may choose others); uniform RMAE: of uniform levels at equal stored bits, clipped at their best range; output "
      "error: squared error of the network's output, relative to it, with this tensor alone quantized; nearest, and "
      "the "
      "four distances behind it: Kolmogorov-Smirnov distance of |x| from fitted distributions (exponential: values are "
      "Laplace about zero; Laplace: |x| is, about its median). Weights that have a scale per channel are divided by "
      "it.</p>\n",
      TensorTable(report),
      "<h2>Magnitudes and levels</h2><p>Blue: shares of |x|, up to 99.9 % of them; red: the "
      "codebook's levels.</p>\n");
  for (const TensorReport& t : report.tensors) {
    absl::StrAppend(&body, "<h3>", EscapeHtml(Shown(t.tensor, 80)), "</h3><p>", EscapeHtml(t.reason), "</p>",
                    t.codebook.exponent_bits == 0 ? "" : HistogramSvg(t));
  }
  return HtmlPage(title, body + environment);
}

}  // namespace tally::tools
