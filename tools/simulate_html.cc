// The page of `tally simulate --html`: self-contained, no script, nothing fetched.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tools/simulate_report.h"

namespace tally::tools {
namespace {

using nearmem::CycleParts;
using nearmem::EnergyPart;
using nearmem::LayerRecord;
using nearmem::SimulatedMachine;

constexpr const char* kColours[] = {"#2f6db3", "#d95f30", "#7a9e3b", "#c94f7c", "#8c6bb1",
                                    "#e0a92b", "#4aa6a6", "#8a6d4b", "#7f8fa6", "#b03a48",
                                    "#5d8a5d", "#a4a4a4", "#3f3f74", "#c7a7d9", "#94713f"};

// A length of a bar.
struct Slice {
  std::string name;
  double value;
};
struct Bar {
  std::string label;
  std::vector<Slice> slices;
};

// Horizontal bars of slices; `unit` stands behind the sum. All bars have the same slices in the same order.
std::string BarsSvg(const std::vector<Bar>& bars, const std::string& unit) {
  constexpr double kLeft = 230, kWidth = 620, kRow = 17, kRight = 110;
  double largest = 0;
  std::vector<double> of_slice(bars.empty() ? 0 : bars[0].slices.size(), 0);
  for (const Bar& bar : bars) {
    double sum = 0;
    for (size_t i = 0; i < bar.slices.size(); ++i) {
      sum += bar.slices[i].value;
      of_slice[i] += bar.slices[i].value;
    }
    largest = std::max(largest, sum);
  }
  if (!(largest > 0)) return "";
  std::string legend = "<p>";
  for (size_t i = 0; i < of_slice.size(); ++i) {
    if (of_slice[i] > 0) {
      absl::StrAppend(&legend, "<span style=\"color:", kColours[i % std::size(kColours)], "\">&#9632;</span> ",
                      EscapeHtml(bars[0].slices[i].name), " &nbsp; ");
    }
  }
  std::string svg = absl::StrCat(legend, "</p><svg width=\"", kLeft + kWidth + kRight, "\" height=\"",
                                 kRow * static_cast<double>(bars.size()) + 4, "\" font-size=\"11\">");
  double y = 2;
  for (const Bar& bar : bars) {
    absl::StrAppend(&svg, "<text text-anchor=\"end\" x=\"", kLeft - 6, "\" y=\"", y + 11, "\">",
                    EscapeHtml(Shown(bar.label, 34)), "</text>");
    double x = kLeft, sum = 0;
    for (size_t i = 0; i < bar.slices.size(); ++i) {
      const double width = bar.slices[i].value / largest * kWidth;
      sum += bar.slices[i].value;
      if (!(width > 0)) continue;
      absl::StrAppend(&svg, "<rect x=\"", Fixed(x, 2), "\" y=\"", y, "\" width=\"", Fixed(width, 2), "\" height=\"",
                      kRow - 3, "\" fill=\"", kColours[i % std::size(kColours)], "\"><title>", EscapeHtml(bar.label),
                      ": ", EscapeHtml(bar.slices[i].name), " ", bar.slices[i].value, " ", unit, "</title></rect>");
      x += width;
    }
    absl::StrAppend(&svg, "<text x=\"", Fixed(x + 5, 1), "\" y=\"", y + 11, "\">", sum, " ", unit, "</text>");
    y += kRow;
  }
  return svg + "</svg>\n";
}

std::vector<Slice> CycleSlices(const CycleParts& c) {
  const auto d = [](nearmem::Cycle v) { return static_cast<double>(v); };
  return {{"compute", d(c.compute)},
          {"spill", d(c.spill)},
          {"post-processing", d(c.post_processing)},
          {"DRAM stall", d(c.dram_stall)},
          {"refresh", d(c.refresh)},
          {"network", d(c.noc)},
          {"link", d(c.link)}};
}

std::vector<Slice> EnergySlices(const std::vector<EnergyPart>& parts) {
  std::vector<Slice> slices;
  for (const EnergyPart& part : parts) slices.push_back({part.name, std::round(part.pj * 1e-3) * 1e-3});
  return slices;
}

// A point of the roofline, counting or INT8.
struct Dot {
  double x, y;
  std::string what;
  bool int8;
};

// Both axes are logarithmic.
std::string RooflineSvg(const SimulationReport& report) {
  constexpr double kWidth = 760, kHeight = 360, kLeft = 60, kBottom = 44, kTop = 10, kRight = 14;
  const auto& first = report.compared.comparisons[0];
  const SimulatedMachine& machine = report.compared.machines[static_cast<size_t>(first.counting)];
  const double vaults = machine.config.vaults();
  const double bytes = vaults * machine.dram.geometry.burst_bytes / machine.dram.timing.burst;
  const double lanes = vaults * machine.config.lanes.lanes / machine.config.lanes.clock_divider;
  std::vector<Dot> dots;
  for (const LayerRecord& layer : report.layers) {
    if (layer.shape.macs() == 0) continue;
    for (const bool int8 : {false, true}) {
      const nearmem::LayerResult& r = layer.machines[static_cast<size_t>(int8 ? first.int8 : first.counting)].result;
      if (r.bytes.dram() == 0 || r.cycles.total() == 0) continue;
      const double macs = static_cast<double>(layer.shape.macs());
      dots.push_back(
          {macs / static_cast<double>(r.bytes.dram()), macs / static_cast<double>(r.cycles.total()), layer.node, int8});
    }
  }
  if (dots.empty()) return "";
  double x0 = lanes / bytes / 4, x1 = lanes / bytes * 4, y0 = lanes / 8, y1 = lanes * 1.3;
  for (const Dot& d : dots) {
    x0 = std::min(x0, d.x / 1.3);
    x1 = std::max(x1, d.x * 1.3);
    y0 = std::min(y0, d.y / 1.3);
    y1 = std::max(y1, d.y * 1.3);
  }
  const auto at_x = [&](double x) { return kLeft + std::log(x / x0) / std::log(x1 / x0) * (kWidth - kLeft - kRight); };
  const auto at_y = [&](double y) {
    return kHeight - kBottom - std::log(y / y0) / std::log(y1 / y0) * (kHeight - kBottom - kTop);
  };
  std::string svg = absl::StrCat("<svg width=\"", kWidth, "\" height=\"", kHeight, "\" font-size=\"11\">");
  const double knee = lanes / bytes, low = std::max(x0, y0 / bytes);
  absl::StrAppend(&svg, "<polyline fill=\"none\" stroke=\"#444\" stroke-width=\"1.5\" points=\"", Fixed(at_x(low), 1),
                  ",", Fixed(at_y(low * bytes), 1), " ", Fixed(at_x(knee), 1), ",", Fixed(at_y(lanes), 1), " ",
                  Fixed(at_x(x1), 1), ",", Fixed(at_y(lanes), 1), "\"/>");
  for (double tick = std::pow(10, std::ceil(std::log10(x0))); tick < x1; tick *= 10) {
    absl::StrAppend(&svg, "<line stroke=\"#ddd\" x1=\"", Fixed(at_x(tick), 1), "\" x2=\"", Fixed(at_x(tick), 1),
                    "\" y1=\"", kTop, "\" y2=\"", kHeight - kBottom, "\"/><text text-anchor=\"middle\" x=\"",
                    Fixed(at_x(tick), 1), "\" y=\"", kHeight - kBottom + 15, "\">", tick, "</text>");
  }
  for (double tick = std::pow(10, std::ceil(std::log10(y0))); tick < y1; tick *= 10) {
    absl::StrAppend(&svg, "<line stroke=\"#ddd\" y1=\"", Fixed(at_y(tick), 1), "\" y2=\"", Fixed(at_y(tick), 1),
                    "\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\"/><text text-anchor=\"end\" x=\"", kLeft - 5,
                    "\" y=\"", Fixed(at_y(tick) + 4, 1), "\">", tick, "</text>");
  }
  for (const Dot& d : dots) {
    absl::StrAppend(&svg, "<circle r=\"4\" fill=\"", d.int8 ? "#d95f30" : "#2f6db3", "\" fill-opacity=\"0.75\" cx=\"",
                    Fixed(at_x(d.x), 1), "\" cy=\"", Fixed(at_y(d.y), 1), "\"><title>", EscapeHtml(Shown(d.what)),
                    d.int8 ? ", INT8" : ", counting", ": ", d.x, " MAC/byte, ", d.y, " MAC/cycle</title></circle>");
  }
  absl::StrAppend(&svg, "<text text-anchor=\"middle\" x=\"", (kLeft + kWidth) / 2, "\" y=\"", kHeight - 8,
                  "\">MACs per byte of DRAM; upwards: MACs per DRAM cycle</text>");
  return svg + "</svg>\n";
}

}  // namespace

std::string SimulationHtml(const SimulationReport& report) {
  const auto& first = report.compared.comparisons[0];
  std::vector<Bar> cycles, energies;
  for (const LayerRecord& layer : report.layers) {
    for (const bool int8 : {false, true}) {
      const SimulatedCost cost = CostOf(report, layer, int8 ? first.int8 : first.counting);
      const std::string label = absl::StrCat(layer.node, int8 ? " int8" : "");
      cycles.push_back({label, CycleSlices(cost.cycles)});
      energies.push_back({label, EnergySlices(cost.events)});
    }
  }
  std::vector<Bar> totals;
  for (const auto& c : report.compared.comparisons) {
    totals.push_back({c.name + " counting", EnergySlices(TotalCost(report, c.counting).events)});
    totals.push_back({c.name + " int8", EnergySlices(TotalCost(report, c.int8).events)});
  }
  return HtmlPage(
      absl::StrCat("simulate ", report.model),
      absl::StrCat(
          "<p>All figures are simulated", report.synthetic_codes ? "; shapes are published, codes are made up" : "",
          ".</p><pre>", EscapeHtml(SimulationText(report)), "</pre>\n<h2>Roofline</h2><p>",
          "<span style=\"color:#2f6db3\">&#9679;</span> counting <span style=\"color:#d95f30\">&#9679;</span> ",
          "INT8, equal lanes. A layer may pass the lanes' roof, because zeros are skipped.</p>\n", RooflineSvg(report),
          "<h2>Energy of the network</h2>\n", BarsSvg(totals, "uJ"), "<h2>Cycles</h2>\n", BarsSvg(cycles, "cycles"),
          "<h2>Energy</h2>\n", BarsSvg(energies, "uJ"), "<p>commit ",
          EscapeHtml(EnvironmentJson(1)["commit"].get<std::string>()), ", config ", report.config_hash, "</p>"));
}

}  // namespace tally::tools
