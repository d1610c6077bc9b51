#include "converter/search/memo.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "format/bit_packing.h"
#include "format/error.h"
#include "format/file_io.h"
#include "format/model_file.h"

#define XXH_INLINE_ALL
#include "xxhash.h"

namespace tally {
namespace {

using Json = nlohmann::json;

// Deeper than anything that is kept: nested values are recursive to destroy and to write.
constexpr int kMaxDepth = 6;

}  // namespace

std::string Memo::Hash(const std::string& text) {
  return absl::StrCat(absl::Hex(XXH3_64bits(text.data(), text.size()), absl::kZeroPad16));
}

absl::StatusOr<Memo> Memo::Open(const std::string& folder, const std::string& context) {
  Memo memo;
  if (folder.empty()) return memo;
  if (mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST) {
    return ErrnoError(errno, "cannot make the folder", folder, ErrorId::kWriteFailed);
  }
  struct stat info;
  if (stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return MakeError(ErrorId::kNotRegular, "expected a folder", {folder, "", -1, ""});
  }
  memo.folder_ = folder;
  memo.context_ = context;
  return memo;
}

std::string Memo::PathOf(const std::string& key) const {
  return absl::StrCat(folder_, "/", Hash(absl::StrCat(context_, "\n", key)), ".json");
}

// {"check": hash of the rest, "context": ..., "key": ..., "value": ...}
std::optional<Json> Memo::Find(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  const absl::StatusOr<Blob> file = ReadWholeFile(PathOf(key), uint64_t{1} << 32);
  if (!file.ok()) return std::nullopt;
  const char* begin = reinterpret_cast<const char*>(file->data());
  const auto shallow = [](int depth, Json::parse_event_t, Json&) { return depth <= kMaxDepth; };
  Json json = Json::parse(begin, begin + file->size(), shallow, /*allow_exceptions=*/false);
  if (!json.is_object() || json.size() != 4) return std::nullopt;
  for (const char* name : {"check", "context", "key", "value"}) {
    if (!json.contains(name)) return std::nullopt;
  }
  if (json["context"] != context_ || json["key"] != key || json["check"] != Hash(json["value"].dump())) {
    return std::nullopt;
  }
  return std::move(json["value"]);
}

absl::Status Memo::Keep(const std::string& key, const Json& value) const {
  if (folder_.empty()) return absl::OkStatus();
  const std::string dumped = value.dump();
  const std::string text = absl::StrCat("{\"check\":\"", Hash(dumped), "\",\"context\":", Json(context_).dump(),
                                        ",\"key\":", Json(key).dump(), ",\"value\":", dumped, "}");
  return WriteFileAtomically(PathOf(key), text.data(), text.size());
}

Json ToJson(const QuantizedWeight& weight) {
  const Codebook& book = weight.fit.codebook;
  std::string packed(PackedBytes(weight.codes.size(), book.stored_bits()), 0);
  PackBits(weight.codes.data(), weight.codes.size(), book.stored_bits(), reinterpret_cast<uint8_t*>(packed.data()));
  Json errors = Json::array();
  for (const auto& [bits, error] : weight.errors) errors.push_back({bits, error});
  return {{"exponent_bits", book.exponent_bits},
          {"signed", book.is_signed},
          {"grid", static_cast<int>(book.grid)},
          {"rule", static_cast<int>(book.encode_rule)},
          {"base", book.base},
          {"alpha", book.alpha},
          {"beta", book.beta},
          {"mantissas", book.mantissas},
          {"scale", book.scale},
          {"inverse_scale", book.inverse_scale},
          {"thresholds", book.thresholds},
          {"channel_scales", weight.fit.channel_scales},
          {"relative_mse", weight.fit.error.relative_mse},
          {"rmae", weight.fit.error.rmae},
          {"codes", absl::BytesToHexString(packed)},
          {"bias", weight.bias},
          {"notes", weight.notes},
          {"errors", errors}};
}

namespace {

// An integer that an int holds: nlohmann's conversions do not check.
bool IsSmall(const Json& json) { return json.is_number_integer() && json >= 0 && json <= 255; }

}  // namespace

std::optional<QuantizedWeight> WeightFromJson(const Json& json, size_t elements, size_t channels) {
  QuantizedWeight weight;
  std::string packed;
  try {
    Codebook& book = weight.fit.codebook;
    for (const char* name : {"exponent_bits", "grid", "rule"}) {
      if (!IsSmall(json.at(name))) return std::nullopt;
    }
    for (const Json& pair : json.at("errors")) {
      if (!IsSmall(pair.at(0))) return std::nullopt;
    }
    json.at("exponent_bits").get_to(book.exponent_bits);
    json.at("signed").get_to(book.is_signed);
    book.grid = static_cast<Grid>(json.at("grid").get<int>());
    book.encode_rule = static_cast<EncodeRule>(json.at("rule").get<int>());
    json.at("base").get_to(book.base);
    json.at("alpha").get_to(book.alpha);
    json.at("beta").get_to(book.beta);
    json.at("mantissas").get_to(book.mantissas);
    json.at("scale").get_to(book.scale);
    json.at("inverse_scale").get_to(book.inverse_scale);
    json.at("thresholds").get_to(book.thresholds);
    json.at("channel_scales").get_to(weight.fit.channel_scales);
    json.at("relative_mse").get_to(weight.fit.error.relative_mse);
    json.at("rmae").get_to(weight.fit.error.rmae);
    packed = absl::HexStringToBytes(json.at("codes").get<std::string>());
    json.at("bias").get_to(weight.bias);
    json.at("notes").get_to(weight.notes);
    for (const Json& pair : json.at("errors")) weight.errors[pair.at(0).get<int>()] = pair.at(1).get<double>();
  } catch (const Json::exception&) {
    return std::nullopt;
  }
  const Codebook& book = weight.fit.codebook;
  const auto fits = [&](const std::vector<float>& list, float least) {
    return (list.empty() || list.size() == channels) &&
           std::all_of(list.begin(), list.end(), [&](float v) { return v > least && std::isfinite(v); });
  };
  const bool known_rule = book.encode_rule == EncodeRule::kNearest || book.encode_rule == EncodeRule::kLog;
  if (!known_rule || !book.Validate().ok() || packed.size() != PackedBytes(elements, book.stored_bits()) ||
      !fits(weight.fit.channel_scales, 0) || !fits(weight.bias, -std::numeric_limits<float>::infinity())) {
    return std::nullopt;
  }
  weight.codes.resize(elements);
  UnpackBits(reinterpret_cast<const uint8_t*>(packed.data()), book.stored_bits(), 0, elements, weight.codes.data());
  const bool valid =
      std::all_of(weight.codes.begin(), weight.codes.end(), [&](uint8_t code) { return book.is_valid_code(code); });
  if (!valid) return std::nullopt;
  return weight;
}

}  // namespace tally
