// The converter's report as JSON: what was chosen for every tensor, and why.
#include <nlohmann/json.hpp>

#include "converter/convert.h"
#include "converter/options.h"

namespace tally {
namespace {

using nlohmann::ordered_json;

ordered_json TensorJson(const TensorReport& t) {
  ordered_json j;
  j["tensor"] = t.tensor;
  j["node"] = t.node;
  j["kind"] = t.is_weight ? "weight" : "activation";
  j["elements"] = t.elements;
  const Codebook& book = t.codebook;
  j["encoding"] = book.exponent_bits == 0 ? "float32" : "codes";
  if (book.exponent_bits != 0) {
    j["stored_bits"] = book.stored_bits();
    j["exponent_bits"] = book.exponent_bits;
    j["signed"] = book.is_signed;
    j["grid"] = GridName(book.grid);
    j["encode"] = EncodeRuleName(book.encode_rule);
    j["base"] = book.base;
    j["alpha"] = book.alpha;
    j["beta"] = book.beta;
    if (book.grid != Grid::kReal) {
      j["scale"] = book.scale;
      j["mantissas"] = book.mantissas;
    }
    j["rmae"] = t.rmae;
    j["rmae_uniform_max"] = t.rmae_uniform_max;
    j["rmae_uniform_clipped"] = t.rmae_uniform_clipped;
  }
  j["reason"] = t.reason;
  if (!t.output_errors.empty()) {
    ordered_json& errors = j["output_errors"];
    for (const auto& [bits, error] : t.output_errors) errors[std::to_string(bits)] = error;
  }
  if (!t.distribution.shares.empty()) {
    const Distribution& d = t.distribution;
    j["distribution"] = {
        {"limit", d.limit},
        {"shares", d.shares},
        {"distance",
         {{"exponential", d.exponential}, {"normal", d.normal}, {"laplace", d.laplace}, {"uniform", d.uniform}}}};
  }
  return j;
}

// Null where it is not known.
ordered_json DropJson(const std::optional<PairedDrop>& d) {
  if (!d) return nullptr;
  return {{"points", d->drop}, {"standard_error", d->standard_error}};
}

}  // namespace

std::string ReportJson(const ConvertReport& report, const ConvertOptions& options) {
  ordered_json j;
  j["schema_version"] = 1;
  j["tool_version"] = options.tool_version;
  ordered_json& o = j["options"];
  for (const auto& [name, value] : OptionNames(options)) o[name] = value;
  j["metric"] = report.metric;
  j["selection_samples"] = report.selection_samples;
  if (report.selection_samples > 0) {
    j["float_value"] = report.float_value;
    j["quantized_value"] = report.quantized_value;
    j["drop"] = DropJson(report.drop);
    j["expected_drop"] = DropJson(report.expected_drop);
  }
  j["goal_reached"] = report.goal_reached;
  j["weights"] = {{"stored_bits_mean", report.weight_bits_mean},
                  {"exponent_bits_mean", report.weight_exponent_bits_mean}};
  j["activations"] = {{"stored_bits_mean", report.activation_bits_mean}};
  j["steps"] = ordered_json::array();
  for (const ConvertReport::Step& s : report.steps) {
    j["steps"].push_back({{"threshold", s.threshold},
                          {"weight_bits", s.weight_bits},
                          {"activation_bits", s.activation_bits},
                          {"value", s.value},
                          {"drop", DropJson(s.drop)},
                          {"expected_drop", DropJson(s.expected_drop)}});
  }
  j["front"] = ordered_json::array();
  for (const ConvertReport::FrontPoint& p : report.front) {
    j["front"].push_back({{"weight_bits", p.weight_bits}, {"output_error", p.error}, {"stored_bits", p.stored_bits}});
  }
  j["tensors"] = ordered_json::array();
  for (const TensorReport& t : report.tensors) j["tensors"].push_back(TensorJson(t));
  // Names are UTF-8 by the importer's checks; anything else is replaced, never thrown on.
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace tally
