#include <new>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "format/graph.h"
#include "format/model_file.h"
#include "runtime/exec/infer.h"
#include "tally/tally.h"

namespace tally {

const char* Version() { return TALLY_VERSION; }

namespace {

// Every operator and attribute is checked here, at extent 1 for what is dynamic, and types as far as they do not follow
// from values of inputs; a session checks again for its own extents and values. Where windows do not fit into that,
// images and sequences get an extent as of real data.
absl::StatusOr<InferredGraph> CheckedTypes(const Graph& graph, const Limits& limits) {
  std::vector<int64_t> extents(graph.symbols.size(), 1);
  absl::StatusOr<InferredGraph> inferred = InferGraph(graph, extents, limits);
  if (!inferred.ok()) {
    for (int t : graph.inputs) {
      const Shape& shape = graph.tensors[static_cast<size_t>(t)].shape;
      for (size_t d = 1; d < shape.size(); ++d) {
        if (shape[d] < 0) extents[static_cast<size_t>(-(shape[d] + 1))] = 64;
      }
    }
    const absl::StatusOr<InferredGraph> larger = InferGraph(graph, extents, limits);
    if (!larger.ok()) return inferred.status();
    inferred = larger;
  }
  return inferred;
}

}  // namespace

struct Model::Impl {
  Graph graph;
  Limits limits;
  std::vector<TensorInfo> inputs;
  std::vector<TensorInfo> outputs;
};

absl::StatusOr<Model> Model::FromGraph(Graph graph, const Limits& limits) {
  try {
    TALLY_RETURN_IF_ERROR(ValidateGraph(graph));
    TALLY_ASSIGN_OR_RETURN(const InferredGraph inferred, CheckedTypes(graph, limits));
    auto impl = std::make_shared<Impl>();
    for (size_t i = 0; i < graph.inputs.size(); ++i) {
      const Tensor& tensor = graph.tensors[static_cast<size_t>(graph.inputs[i])];
      impl->inputs.push_back({tensor.name, tensor.dtype, tensor.shape});
      impl->inputs.back().is_shape_input = inferred.shape_inputs[i];
    }
    for (int t : graph.outputs) {
      const TensorType& type = inferred.types[static_cast<size_t>(t)];
      impl->outputs.push_back({graph.tensors[static_cast<size_t>(t)].name, type.dtype, type.shape});
      impl->outputs.back().shape_known = !inferred.untyped[static_cast<size_t>(t)];
    }
    impl->graph = std::move(graph);
    impl->limits = limits;
    return Model(std::move(impl));
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "out of memory while checking the model");
  }
}

absl::StatusOr<Model> Model::Load(const std::string& path, const LoadModelOptions& options) {
  LoadOptions load;
  load.limits = options.limits;
  load.use_mmap = options.use_mmap;
  TALLY_ASSIGN_OR_RETURN(Graph graph, ReadModelFile(path, load));
  absl::StatusOr<Model> model = FromGraph(std::move(graph), options.limits);
  if (!model.ok()) return AddWhere(model.status(), {path, "metadata", -1, ""});
  return model;
}

absl::StatusOr<Model> Model::Parse(const void* data, size_t size, const LoadModelOptions& options) {
  LoadOptions load;
  load.limits = options.limits;
  TALLY_ASSIGN_OR_RETURN(Graph graph, ParseModel(data, size, "memory", load));
  absl::StatusOr<Model> model = FromGraph(std::move(graph), options.limits);
  if (!model.ok()) return AddWhere(model.status(), {"memory", "metadata", -1, ""});
  return model;
}

const std::vector<TensorInfo>& Model::inputs() const { return impl_->inputs; }
const std::vector<TensorInfo>& Model::outputs() const { return impl_->outputs; }
const Graph& Model::graph() const { return impl_->graph; }
const Limits& Model::limits() const { return impl_->limits; }

}  // namespace tally
