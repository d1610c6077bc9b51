#include "converter/options.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

const char* GridChoiceName(GridChoice grid) {
  switch (grid) {
    case GridChoice::kAuto: return "auto";
    case GridChoice::kQ7: return "q7";
    case GridChoice::kQ14: return "q14";
    case GridChoice::kReal: return "real";
  }
  return "unknown";
}

absl::Status Usage(const std::string& detail) { return MakeError(ErrorId::kUsage, detail); }

}  // namespace

absl::Status CheckOptions(const ConvertOptions& o) {
  for (const auto& [name, bits] :
       {std::pair("weight bits", o.weight_bits), std::pair("activation bits", o.activation_bits)}) {
    if (bits && (*bits < 2 || *bits > 8)) return Usage(absl::StrCat(name, " ", *bits, ", expected 2..8"));
  }
  for (const auto& [name, bits] :
       {std::pair("target bits", o.target_bits), std::pair("activation target bits", o.activation_target_bits)}) {
    if (bits && !(*bits >= 2 && *bits <= 32)) return Usage(absl::StrCat(name, " ", *bits, ", expected 2..32"));
  }
  if (o.max_drop && !(*o.max_drop >= 0 && *o.max_drop <= 100)) {
    return Usage(absl::StrCat("max drop ", *o.max_drop, ", expected 0..100 points"));
  }
  const int goals = (o.weight_bits ? 1 : 0) + (o.max_drop ? 1 : 0) + (o.target_bits ? 1 : 0) + (o.target_size ? 1 : 0);
  if (goals > 1) return Usage("fixed weight bits, max drop, target bits and target size exclude each other");
  if (o.activation_bits && o.activation_target_bits) {
    return Usage("activation bits and activation target bits exclude each other");
  }
  if (o.rounding == Rounding::kCompensated && o.strategy == Strategy::kDnateq) {
    return Usage("compensated rounding is not part of the paper's method: expected strategy joint or rounding nearest");
  }
  if (o.levels == Levels::kUniform &&
      (o.strategy == Strategy::kDnateq || SharesBase(o) || o.encode_rule == EncodeRule::kLog)) {
    return Usage(
        "uniform levels: expected strategy joint, encode nearest and no shared base (which grid real turns on)");
  }
  if (o.equalize && o.strategy == Strategy::kDnateq) {
    return Usage("equalized channels are not part of the paper's method: expected strategy joint");
  }
  if (o.front_points < 0) return Usage(absl::StrCat(o.front_points, " points of the front, expected 0 or more"));
  if (o.golden_cases < 0) return Usage(absl::StrCat(o.golden_cases, " golden cases, expected 0 or more"));
  return absl::OkStatus();
}

bool SharesBase(const ConvertOptions& options) {
  return options.shared_base.value_or(options.grid == GridChoice::kReal);
}

std::vector<std::pair<std::string, std::string>> OptionNames(const ConvertOptions& o) {
  std::vector<std::pair<std::string, std::string>> names = {
      {"strategy", o.strategy == Strategy::kDnateq ? "dnateq" : "joint"},
      {"levels", o.levels == Levels::kUniform ? "uniform" : "exponential"},
      {"grid", GridChoiceName(o.grid)},
      {"encode", EncodeRuleName(o.encode_rule)},
      {"granularity", o.granularity == Granularity::kTensor || o.strategy == Strategy::kDnateq ? "tensor" : "channel"},
      {"equalize", o.equalize ? "on" : "off"},
      {"shared_base", SharesBase(o) ? "on" : "off"},
      {"seed", absl::StrCat(o.seed)},
  };
  const auto add = [&](const char* name, const auto& value) {
    if (value) names.emplace_back(name, absl::StrCat(*value));
  };
  if (o.rounding) names.emplace_back("rounding", *o.rounding == Rounding::kNearest ? "nearest" : "compensated");
  add("weight_bits", o.weight_bits);
  add("activation_bits", o.activation_bits);
  add("max_drop", o.max_drop);
  add("target_bits", o.target_bits);
  add("activation_target_bits", o.activation_target_bits);
  add("target_size", o.target_size);
  return names;
}

}  // namespace tally
