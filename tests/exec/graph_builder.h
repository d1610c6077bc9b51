// Builds small graphs for tests.
#ifndef TALLY_TESTS_EXEC_GRAPH_BUILDER_H_
#define TALLY_TESTS_EXEC_GRAPH_BUILDER_H_

#include <string>
#include <utility>
#include <vector>

#include "format/graph.h"

namespace tally::testing {

class GraphBuilder {
 public:
  // A float32 input; negative extents are symbols, which are named "N", "M", ... as needed.
  GraphBuilder& Input(const std::string& name, Shape shape, DType dtype = DType::kFloat32) {
    static const char* const kNames[] = {"N", "M", "P"};
    for (int64_t d : shape) {
      while (d < 0 && graph.symbols.size() < static_cast<size_t>(-d)) {
        graph.symbols.push_back(kNames[graph.symbols.size()]);
      }
    }
    Tensor t;
    t.name = name;
    t.dtype = dtype;
    t.shape = std::move(shape);
    graph.inputs.push_back(graph.AddTensor(std::move(t)));
    return *this;
  }

  template <typename T>
  GraphBuilder& Constant(const std::string& name, DType dtype, Shape shape, const std::vector<T>& values) {
    Tensor t;
    t.name = name;
    t.dtype = dtype;
    t.shape = std::move(shape);
    t.has_data = true;
    t.data = Blob::Copy(values.data(), values.size() * sizeof(T));
    graph.AddTensor(std::move(t));
    return *this;
  }

  // Inputs by name ("" = absent), outputs are created.
  Node& Add(const std::string& op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
    Node node;
    node.name = op + "_" + outputs[0];
    node.op = op;
    for (const std::string& i : inputs) node.inputs.push_back(i.empty() ? -1 : graph.FindTensor(i));
    for (const std::string& o : outputs) {
      Tensor t;
      t.name = o;
      node.outputs.push_back(graph.AddTensor(std::move(t)));
    }
    graph.nodes.push_back(std::move(node));
    return graph.nodes.back();
  }

  GraphBuilder& Output(const std::string& name) {
    graph.outputs.push_back(graph.FindTensor(name));
    return *this;
  }

  Graph graph;
};

}  // namespace tally::testing

#endif  // TALLY_TESTS_EXEC_GRAPH_BUILDER_H_
