// Results of long steps, kept in a folder so that a search that was stopped goes on where it was, and one with another
// goal takes up what they have in common. Any step may be missing: it is computed again.
#ifndef TALLY_CONVERTER_SEARCH_MEMO_H_
#define TALLY_CONVERTER_SEARCH_MEMO_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/search/quantized_weight.h"

namespace tally {

class Memo {
 public:
  // Keeps nothing.
  Memo() = default;
  // `folder` is made when it does not exist. `context`: all that the results depend on beside their own keys.
  // Errors: kNotFound, kPermission, kNotRegular.
  static absl::StatusOr<Memo> Open(const std::string& folder, const std::string& context);

  // 16 hexadecimal digits.
  static std::string Hash(const std::string& text);

  // Nothing when there is none, or when its file is damaged.
  std::optional<nlohmann::json> Find(const std::string& key) const;
  // Written whole or not at all. Errors: those of WriteFileAtomically.
  absl::Status Keep(const std::string& key, const nlohmann::json& value) const;

 private:
  std::string PathOf(const std::string& key) const;

  std::string folder_;  // empty: keeps nothing
  std::string context_;
};

nlohmann::json ToJson(const QuantizedWeight& weight);
// Nothing when it is not what ToJson makes for a weight of so many elements and channels.
std::optional<QuantizedWeight> WeightFromJson(const nlohmann::json& json, size_t elements, size_t channels);

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_MEMO_H_
