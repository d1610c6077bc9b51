#include "converter/calibration/description.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "format/error.h"
#include "format/json.h"
#include "format/limits.h"

namespace tally {
namespace {

using Json = nlohmann::json;

// "number 3", "string \"x\"", "array": short, because it ends up on one line.
// Reads the members of one JSON object and keeps the first error.
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string where, std::string path, const std::vector<std::string>& known)
      : object_(object), where_(std::move(where)), path_(std::move(path)) {
    if (!object.is_object()) {
      Fail("", absl::StrCat("expected an object, found ", DescribeJson(object)));
      return;
    }
    for (const auto& item : object.items()) {
      if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
        Fail("", absl::StrCat("unknown key ", Quoted(item.key()), "; known keys: ", absl::StrJoin(known, ", ")));
        return;
      }
    }
  }

  const absl::Status& status() const { return status_; }

  void Fail(const std::string& key, const std::string& detail) {
    if (!status_.ok()) return;
    std::string subject = where_;
    if (!key.empty()) absl::StrAppend(&subject, subject.empty() ? "" : ".", key);
    status_ = MakeError(ErrorId::kBadDataDescription, detail, {path_, "", -1, subject});
  }

  // The member, or null; after an error always null.
  const Json* Find(const std::string& key) const {
    if (!status_.ok()) return nullptr;
    const auto it = object_.find(key);
    return it == object_.end() ? nullptr : &*it;
  }
  const Json* Require(const std::string& key) {
    const Json* value = Find(key);
    if (value == nullptr) Fail(key, "expected this key, found none");
    return value;
  }

  std::string String(const std::string& key, const Json* value) {
    if (value == nullptr) return "";
    if (!value->is_string()) {
      Fail(key, absl::StrCat("expected a string, found ", DescribeJson(*value)));
      return "";
    }
    return value->get<std::string>();
  }

  // One of `names`; its index, or 0 after an error.
  size_t Choice(const std::string& key, const Json* value, const std::vector<std::string>& names) {
    const std::string text = String(key, value);
    const auto it = std::find(names.begin(), names.end(), text);
    if (it != names.end()) return static_cast<size_t>(it - names.begin());
    Fail(key, absl::StrCat("expected one of ", absl::StrJoin(names, ", "), ", found ", Quoted(text)));
    return 0;
  }

  int64_t Integer(const std::string& key, const Json& value, int64_t min, int64_t max) {
    // Unsigned values above INT64_MAX would wrap in get<int64_t>.
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() || value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
    if (fits && value.get<int64_t>() >= min && value.get<int64_t>() <= max) return value.get<int64_t>();
    Fail(key, absl::StrCat("expected an integer in ", min, "..", max, ", found ", DescribeJson(value)));
    return min;
  }

  double Number(const std::string& key, const Json& value) {
    if (value.is_number() && std::isfinite(value.get<double>())) return value.get<double>();
    Fail(key, absl::StrCat("expected a finite number, found ", DescribeJson(value)));
    return 0;
  }

  // A number or a non-empty array of numbers.
  std::vector<double> Numbers(const std::string& key, const Json* value) {
    if (value == nullptr) return {};
    if (!value->is_array()) return {Number(key, *value)};
    std::vector<double> numbers;
    for (const Json& v : *value) numbers.push_back(Number(key, v));
    if (numbers.empty()) Fail(key, "expected at least one number, found an empty array");
    return numbers;
  }

  std::vector<int64_t> Integers(const std::string& key, const Json& value, size_t min_count, size_t max_count,
                                int64_t min, int64_t max) {
    if (!value.is_array() || value.size() < min_count || value.size() > max_count) {
      Fail(key,
           absl::StrCat("expected an array of ", min_count, min_count == max_count ? "" : absl::StrCat("..", max_count),
                        " integers, found ", DescribeJson(value)));
      return std::vector<int64_t>(min_count, min);
    }
    std::vector<int64_t> integers;
    for (const Json& v : value) integers.push_back(Integer(key, v, min, max));
    return integers;
  }

 private:
  const Json& object_;
  const std::string where_;
  const std::string path_;
  absl::Status status_;
};

// 65,500: no JPEG is larger in either direction.
constexpr int64_t kMaxImageExtent = 65500;

std::optional<Extent2d> ReadExtent(ObjectReader* reader, const std::string& key) {
  const Json* value = reader->Find(key);
  if (value == nullptr) return std::nullopt;
  const std::vector<int64_t> hw = reader->Integers(key, *value, 2, 2, 1, kMaxImageExtent);
  return Extent2d{hw[0], hw[1]};
}

absl::StatusOr<InputDescription> ParseInput(const Json& json, const std::string& where, const std::string& path) {
  ObjectReader reader(json, where, path,
                      {"name", "kind", "path", "from_layout", "to_layout", "scale", "mean", "std", "channel_order",
                       "size", "crop", "reshape"});
  InputDescription input;
  input.name = reader.String("name", reader.Require("name"));
  input.kind = reader.Choice("kind", reader.Require("kind"), {"npy", "image_list"}) == 0
                   ? InputDescription::Kind::kNpy
                   : InputDescription::Kind::kImageList;
  input.path = reader.String("path", reader.Require("path"));
  const bool is_image = input.kind == InputDescription::Kind::kImageList;

  const std::vector<std::string> layouts = {"NHWC", "NCHW"};
  const auto layout = [&](const std::string& key, Layout absent) {
    const Json* value = reader.Find(key);
    if (value == nullptr) return absent;
    return reader.Choice(key, value, layouts) == 0 ? Layout::kChannelsLast : Layout::kChannelsFirst;
  };
  input.from_layout = layout("from_layout", is_image ? Layout::kChannelsLast : Layout::kNone);
  input.to_layout = layout("to_layout", input.from_layout);
  if (is_image && input.from_layout != Layout::kChannelsLast) {
    reader.Fail("from_layout", "expected NHWC, the layout of decoded images, found \"NCHW\"");
  }
  if (const Json* value = reader.Find("scale")) input.scale = reader.Number("scale", *value);
  input.mean = reader.Numbers("mean", reader.Find("mean"));
  input.stddev = reader.Numbers("std", reader.Find("std"));
  for (double s : input.stddev) {
    if (s == 0) reader.Fail("std", "expected numbers other than 0, found 0");
  }
  if (const Json* value = reader.Find("channel_order")) {
    input.reverse_channels = reader.Choice("channel_order", value, {"RGB", "BGR"}) == 1;
  }
  input.size = ReadExtent(&reader, "size");
  input.crop = ReadExtent(&reader, "crop");
  if (input.size && input.crop && (input.crop->height > input.size->height || input.crop->width > input.size->width)) {
    reader.Fail("crop", absl::StrCat("expected at most the size ", input.size->height, "x", input.size->width,
                                     ", found ", input.crop->height, "x", input.crop->width));
  }
  if (const Json* value = reader.Find("reshape")) {
    input.reshape = reader.Integers("reshape", *value, 0, kMaxRank - 1, 1, kMaxExtent);
  }
  if (input.from_layout == Layout::kNone) {
    // These speak of channels or of height and width, which only a layout tells.
    const bool per_channel = input.mean.size() > 1 || input.stddev.size() > 1;
    const char* key = input.to_layout != Layout::kNone ? "to_layout"
                      : input.size                     ? "size"
                      : input.crop                     ? "crop"
                      : input.reverse_channels         ? "channel_order"
                      : per_channel                    ? (input.mean.size() > 1 ? "mean" : "std")
                                                       : nullptr;
    if (key != nullptr) reader.Fail(key, "expected from_layout (NHWC or NCHW) with this key, found none");
  }
  TALLY_RETURN_IF_ERROR(reader.status());
  return input;
}

absl::Status ParseTarget(const Json& json, const std::string& path, DataDescription* data) {
  ObjectReader reader(json, "target", path, {"kind", "path", "label_offset", "charset", "blank"});
  constexpr TargetKind kKinds[] = {TargetKind::kNone, TargetKind::kClass, TargetKind::kText, TargetKind::kScore};
  data->target = kKinds[reader.Choice("kind", reader.Require("kind"), {"none", "class", "text", "score"})];
  const auto only_with = [&](bool allowed, const char* kinds, const std::vector<std::string>& keys) {
    for (const std::string& key : keys) {
      if (!allowed && reader.Find(key) != nullptr)
        reader.Fail(key, absl::StrCat("expected only with target kind ", kinds));
    }
  };
  only_with(data->target != TargetKind::kNone, "class, text or score", {"path"});
  only_with(data->target == TargetKind::kClass, "class", {"label_offset"});
  only_with(data->target == TargetKind::kText, "text", {"charset", "blank"});
  if (data->target != TargetKind::kNone) data->target_path = reader.String("path", reader.Require("path"));
  if (const Json* value = reader.Find("label_offset")) {
    data->label_offset = reader.Integer("label_offset", *value, -kMaxExtent, kMaxExtent);
  }
  if (data->target == TargetKind::kText) data->charset_path = reader.String("charset", reader.Require("charset"));
  if (const Json* value = reader.Find("blank")) data->blank = reader.Integer("blank", *value, 0, kMaxExtent);
  return reader.status();
}

// What a target is scored by.
const char* MetricOf(TargetKind target) {
  switch (target) {
    case TargetKind::kNone: return "agreement";
    case TargetKind::kClass: return "top1";
    case TargetKind::kText: return "ctc_exact";
    case TargetKind::kScore: return "pearson_of_cosine";
  }
  return "";
}

}  // namespace

absl::StatusOr<DataDescription> ParseDescription(const std::string& text, const std::string& path) {
  TALLY_ASSIGN_OR_RETURN(const Json json, ParseJson(text, path, ErrorId::kBadDataDescription));
  ObjectReader reader(json, "", path, {"name", "inputs", "target", "metric", "offset", "limit"});
  DataDescription data;
  if (const Json* value = reader.Find("name")) data.name = reader.String("name", value);
  const Json* inputs = reader.Require("inputs");
  if (inputs != nullptr && (!inputs->is_array() || inputs->empty())) {
    reader.Fail("inputs", absl::StrCat("expected a non-empty array, found ", DescribeJson(*inputs)));
  }
  TALLY_RETURN_IF_ERROR(reader.status());
  for (size_t i = 0; i < inputs->size(); ++i) {
    TALLY_ASSIGN_OR_RETURN(InputDescription input, ParseInput((*inputs)[i], absl::StrCat("inputs[", i, "]"), path));
    data.inputs.push_back(std::move(input));
  }
  if (const Json* value = reader.Find("target")) TALLY_RETURN_IF_ERROR(ParseTarget(*value, path, &data));
  data.metric = MetricOf(data.target);
  if (const Json* value = reader.Find("metric")) reader.Choice("metric", value, {data.metric});
  if (const Json* value = reader.Find("offset")) data.offset = reader.Integer("offset", *value, 0, INT64_MAX);
  if (const Json* value = reader.Find("limit")) data.limit = reader.Integer("limit", *value, 0, INT64_MAX);
  TALLY_RETURN_IF_ERROR(reader.status());
  return data;
}

}  // namespace tally
