// Bitwise comparison of graphs: floats by their bits, blobs by their bytes. Header-only.
#ifndef TALLY_TESTS_FORMAT_GRAPH_DIFF_H_
#define TALLY_TESTS_FORMAT_GRAPH_DIFF_H_

#include <cstring>
#include <string>
#include <vector>

#include "format/graph.h"

namespace tally::testing {

// "" when the graphs are the same, else where they first differ.
class GraphDiff {
 public:
  static std::string Of(const Graph& a, const Graph& b) {
    GraphDiff diff;
    diff.Compare(a, b);
    return diff.first_;
  }

 private:
  void Check(bool same, const std::string& where) {
    if (!same && first_.empty()) first_ = where;
  }
  template <typename T>
  static bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
  }
  template <typename T>
  static bool SameBits(T a, T b) {
    return std::memcmp(&a, &b, sizeof(T)) == 0;
  }
  static bool Same(const Blob& a, const Blob& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
  }
  static bool Same(const Codebook& a, const Codebook& b) {
    return a == b && SameBits(a.base, b.base) && SameBits(a.alpha, b.alpha) && SameBits(a.beta, b.beta) &&
           SameBits(a.scale, b.scale) && SameBits(a.inverse_scale, b.inverse_scale) &&
           SameBits(a.thresholds, b.thresholds);
  }

  void Compare(const Tensor& a, const Tensor& b, const std::string& at) {
    Check(a.name == b.name, at + "name");
    Check(a.dtype == b.dtype, at + "dtype");
    Check(a.shape == b.shape, at + "shape");
    Check(a.has_data == b.has_data && Same(a.data, b.data), at + "data");
    Check(a.codes.has_value() == b.codes.has_value(), at + "codes");
    if (a.codes && b.codes) {
      Check(Same(a.codes->codebook, b.codes->codebook), at + "codes.codebook");
      Check(SameBits(a.codes->channel_scales, b.codes->channel_scales), at + "codes.channel_scales");
      Check(SameBits(a.codes->bias, b.codes->bias), at + "codes.bias");
      Check(Same(a.codes->packed, b.codes->packed), at + "codes.packed");
    }
    Check(a.int8.has_value() == b.int8.has_value(), at + "int8");
    if (a.int8 && b.int8) {
      Check(SameBits(a.int8->scales, b.int8->scales) && Same(a.int8->values, b.int8->values), at + "int8");
    }
    Check(a.codebook.has_value() == b.codebook.has_value(), at + "codebook");
    if (a.codebook && b.codebook) Check(Same(*a.codebook, *b.codebook), at + "codebook");
    Check(a.range.has_value() == b.range.has_value(), at + "range");
    if (a.range && b.range) Check(SameBits(*a.range, *b.range), at + "range");
    Check(a.fit.has_value() == b.fit.has_value(), at + "fit");
    if (a.fit && b.fit) Check(SameBits(*a.fit, *b.fit), at + "fit");
  }

  void Compare(const Node& a, const Node& b, const std::string& at) {
    Check(a.name == b.name && a.op == b.op, at + "name or op");
    Check(a.inputs == b.inputs && a.outputs == b.outputs, at + "inputs or outputs");
    Check(a.attributes.size() == b.attributes.size(), at + "attributes");
    for (size_t i = 0; i < a.attributes.size() && i < b.attributes.size(); ++i) {
      const Attribute& p = a.attributes[i];
      const Attribute& q = b.attributes[i];
      Check(p.name == q.name && p.kind == q.kind && p.ints == q.ints && SameBits(p.floats, q.floats) &&
                p.string == q.string,
            at + "attribute " + p.name);
    }
  }

  void Compare(const std::vector<GoldenCase::Value>& a, const std::vector<GoldenCase::Value>& b) {
    Check(a.size() == b.size(), "golden values");
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
      Check(a[i].dtype == b[i].dtype && a[i].shape == b[i].shape && Same(a[i].data, b[i].data), "golden value");
    }
  }

  void Compare(const Graph& a, const Graph& b) {
    Check(a.name == b.name, "name");
    Check(a.inputs == b.inputs && a.outputs == b.outputs, "inputs or outputs");
    Check(a.symbols == b.symbols, "symbols");
    Check(a.metadata == b.metadata, "metadata");
    Check(a.tensors.size() == b.tensors.size() && a.nodes.size() == b.nodes.size(), "counts");
    for (size_t i = 0; i < a.tensors.size() && i < b.tensors.size(); ++i) {
      Compare(a.tensors[i], b.tensors[i], "tensor " + a.tensors[i].name + ": ");
    }
    for (size_t i = 0; i < a.nodes.size() && i < b.nodes.size(); ++i) {
      Compare(a.nodes[i], b.nodes[i], "node " + a.nodes[i].name + ": ");
    }
    Check(a.golden.size() == b.golden.size(), "golden cases");
    for (size_t i = 0; i < a.golden.size() && i < b.golden.size(); ++i) {
      Compare(a.golden[i].inputs, b.golden[i].inputs);
      Compare(a.golden[i].outputs, b.golden[i].outputs);
    }
  }

  std::string first_;
};

}  // namespace tally::testing

#endif  // TALLY_TESTS_FORMAT_GRAPH_DIFF_H_
