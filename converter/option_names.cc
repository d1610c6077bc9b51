#include "converter/option_names.h"

#include "absl/strings/str_cat.h"

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

}  // namespace

bool SharesBase(const ConvertOptions& options) {
  return options.shared_base.value_or(options.grid == GridChoice::kReal);
}

std::vector<std::pair<std::string, std::string>> OptionNames(const ConvertOptions& o) {
  std::vector<std::pair<std::string, std::string>> names = {
      {"strategy", o.strategy == Strategy::kDnateq ? "dnateq" : "joint"},
      {"levels", o.levels == Levels::kUniform ? "uniform" : "exponential"},
      {"grid", GridChoiceName(o.grid)},
      {"encode", EncodeRuleName(o.encode_rule)},
      {"granularity", o.granularity == Granularity::kTensor ? "tensor" : "channel"},
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
