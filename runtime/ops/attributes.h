// Reading a node's attributes without allocating, so that shared implementations may do it while running.
#ifndef TALLY_RUNTIME_OPS_ATTRIBUTES_H_
#define TALLY_RUNTIME_OPS_ATTRIBUTES_H_

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "format/graph.h"

namespace tally {

// Null when absent. Unlike Node::Find it makes no std::string of a long name.
inline const Attribute* FindAttribute(const Node& node, std::string_view name) {
  for (const Attribute& a : node.attributes) {
    if (a.name == name) return &a;
  }
  return nullptr;
}

inline int64_t IntAttribute(const Node& node, std::string_view name, int64_t absent) {
  const Attribute* a = FindAttribute(node, name);
  return a == nullptr || a->ints.empty() ? absent : a->ints[0];
}

inline float FloatAttribute(const Node& node, std::string_view name, float absent) {
  const Attribute* a = FindAttribute(node, name);
  return a == nullptr || a->floats.empty() ? absent : a->floats[0];
}

// Empty when absent; points into the node.
inline absl::Span<const int64_t> IntsAttribute(const Node& node, std::string_view name) {
  const Attribute* a = FindAttribute(node, name);
  return a == nullptr ? absl::Span<const int64_t>() : absl::Span<const int64_t>(a->ints);
}

// Points into the node, or is `absent`.
inline std::string_view StringAttribute(const Node& node, std::string_view name, std::string_view absent) {
  const Attribute* a = FindAttribute(node, name);
  return a == nullptr ? absent : std::string_view(a->string);
}

// Axis -rank .. rank - 1 as 0 .. rank - 1. False when it is outside, or when the rank is 0.
[[nodiscard]] inline bool NormalizeAxis(int64_t axis, size_t rank, size_t* normalized) {
  const int64_t r = static_cast<int64_t>(rank);
  if (axis < -r || axis >= r) return false;
  *normalized = static_cast<size_t>(axis < 0 ? axis + r : axis);
  return true;
}

}  // namespace tally

#endif  // TALLY_RUNTIME_OPS_ATTRIBUTES_H_
