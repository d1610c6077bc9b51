// Collects everything about a model that is not supported, for one report.
#ifndef TALLY_CONVERTER_ONNX_OFFENDERS_H_
#define TALLY_CONVERTER_ONNX_OFFENDERS_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "format/error.h"

namespace tally {

class Offenders {
 public:
  // `what` (operator, "input", "opset") is not supported for `reason`, at the node or tensor `name` (may be empty).
  void Add(const std::string& what, const std::string& reason, const std::string& name) {
    const auto [found, is_new] = index_.try_emplace(what + ": " + reason, groups_.size());
    if (is_new) groups_.push_back({found->first, {}});
    groups_[found->second].names.push_back(name);
  }

  bool empty() const { return groups_.empty(); }

  // OK when there is none. Equal reasons are grouped: "LayerNormalization: not a supported operator ("ln1", "ln2");
  // ...".
  absl::Status ToStatus() const {
    if (groups_.empty()) return absl::OkStatus();
    std::string text;
    for (const Group& group : groups_) {
      text += (text.empty() ? "" : "; ") + group.reason;
      std::string names;
      for (const std::string& name : group.names) {
        if (!name.empty()) names += (names.empty() ? " (" : ", ") + Quoted(name);
      }
      if (!names.empty()) text += names + ")";
    }
    return MakeError(ErrorId::kUnsupportedOnnx, text);
  }

 private:
  struct Group {
    std::string reason;
    std::vector<std::string> names;
  };
  std::map<std::string, size_t> index_;
  std::vector<Group> groups_;  // in the order of the model
};

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_OFFENDERS_H_
