#include "tests/conformance/onnx_case.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "backends/reference/reference.h"
#include "converter/onnx/constants.h"
#include "converter/onnx/import.h"
#include "converter/passes/passes.h"
#include "format/error.h"
#include "format/model_file.h"
#include "onnx/onnx_pb.h"
#include "runtime/backend/registry.h"
#include "tally/tally.h"

namespace tally::testing {
namespace {

std::string ReadBytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct DataSet {
  std::vector<onnx::TensorProto> inputs;
  std::vector<onnx::TensorProto> outputs;
};

// input_0.pb, input_1.pb, ... as long as they are tensors.
std::vector<onnx::TensorProto> ReadTensors(const std::filesystem::path& folder, const std::string& prefix) {
  std::vector<onnx::TensorProto> tensors;
  for (int i = 0;; ++i) {
    const auto path = folder / (prefix + std::to_string(i) + ".pb");
    onnx::TensorProto tensor;
    if (!std::filesystem::exists(path) || !tensor.ParseFromString(ReadBytes(path))) return tensors;
    tensors.push_back(tensor);
  }
}

// The data of bfloat16 tensors calls itself uint16; the model knows better.
void CorrectType(const onnx::ValueInfoProto& declared, onnx::TensorProto* data) {
  const bool is_bfloat16 = declared.type().tensor_type().elem_type() == onnx::TensorProto::BFLOAT16;
  if (is_bfloat16 && data->data_type() == onnx::TensorProto::UINT16) data->set_data_type(onnx::TensorProto::BFLOAT16);
}

absl::StatusOr<Tensor> Read(const onnx::TensorProto& proto) {
  ConstantReader reader("", Limits{});
  std::string unsupported;
  absl::StatusOr<Tensor> tensor = reader.Read(proto, &unsupported);
  if (tensor.ok() && !unsupported.empty()) return absl::UnimplementedError(unsupported);
  return tensor;
}

// Empty when they agree. Floats may differ by 1e-4 of the larger of 1 and the expected value: ONNX's own runner allows
// 1e-3; the expected values are numpy's, with another order of sums, and stored in 16 bits where the model's are.
std::string Difference(const Tensor& expected, const TensorView& actual) {
  if (expected.dtype != actual.dtype || expected.shape != actual.shape) {
    return std::string("expected ") + DTypeName(expected.dtype) + " " + ShapeString(expected.shape) + ", found " +
           DTypeName(actual.dtype) + " " + ShapeString(actual.shape);
  }
  if (expected.dtype != DType::kFloat32) {
    const bool same =
        std::equal(expected.data.data(), expected.data.data() + expected.data.size(), actual.as<uint8_t>());
    return same ? "" : "integers differ";
  }
  for (size_t i = 0; i < expected.elements(); ++i) {
    const double a = expected.data.as<float>()[i];
    const double b = actual.as<float>()[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!(std::fabs(a - b) <= 1e-4 * std::max(1.0, std::fabs(a)))) {
      return "at " + std::to_string(i) + ": expected " + std::to_string(a) + ", found " + std::to_string(b);
    }
  }
  return "";
}

// The values of the graph's inputs, by name, into a session over the file of `graph`; compares the outputs in order.
absl::Status RunAndCompare(const Graph& graph, const std::vector<std::string>& backends,
                           const std::vector<std::pair<std::string, Tensor>>& inputs,
                           const std::vector<Tensor>& expected, std::string* difference) {
  absl::StatusOr<std::vector<uint8_t>> bytes = SerializeModel(graph);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<Model> model = Model::Parse(bytes->data(), bytes->size());
  if (!model.ok()) return model.status();
  SessionOptions options;
  options.backends = backends;
  // Symbols first, because some extents only work together.
  for (int t : graph.inputs) {
    const Tensor& declared = graph.tensors[static_cast<size_t>(t)];
    for (const auto& [name, value] : inputs) {
      for (size_t d = 0; name == declared.name && d < declared.shape.size(); ++d) {
        const size_t symbol = static_cast<size_t>(-(declared.shape[d] + 1));
        if (declared.shape[d] < 0 && d < value.shape.size()) {
          options.dimensions.emplace_back(graph.symbols[symbol], value.shape[d]);
        }
      }
    }
  }
  Registry registry;
  registry.Add(MakeReferenceBackend());
  absl::StatusOr<Session> session = Session::Create(*model, options, registry);
  if (!session.ok()) return session.status();
  std::vector<NamedView> views;
  for (const TensorInfo& info : session->inputs()) {
    for (const auto& [name, value] : inputs) {
      if (name == info.name) views.push_back({name, {value.data.data(), value.dtype, value.shape}});
    }
  }
  if (absl::Status status = session->Prepare(views); !status.ok()) return status;
  if (session->outputs().size() > expected.size()) return absl::InternalError("more outputs than expected");
  std::vector<std::vector<uint8_t>> results;
  std::vector<NamedMutableView> outputs;
  for (const TensorInfo& info : session->outputs()) {
    results.emplace_back(TensorType{info.dtype, info.shape}.bytes() + 1);  // + 1: never null
    outputs.push_back({info.name, {results.back().data(), info.dtype, info.shape}});
  }
  if (absl::Status status = session->Run(views, outputs); !status.ok()) return status;
  for (size_t i = 0; i < outputs.size() && difference->empty(); ++i) {
    const MutableTensorView& view = outputs[i].view;
    *difference = Difference(expected[i], {view.data, view.dtype, view.shape});
    if (!difference->empty()) *difference = "output " + std::to_string(i) + ": " + *difference;
  }
  return absl::OkStatus();
}

// The refusal's reasons without error code, path and node names, which are no news of the operator.
std::string Reasons(const absl::Status& status) {
  std::string text(status.message());
  if (const size_t at = text.find("model.onnx: "); at != std::string::npos) text = text.substr(at + 12);
  for (size_t open = text.find(" (\""); open != std::string::npos; open = text.find(" (\"", open)) {
    const size_t close = text.find("\")", open);
    if (close == std::string::npos) break;
    text.erase(open, close + 2 - open);
  }
  return text;
}

std::string Run(const onnx::GraphProto& graph, const std::string& path, const std::vector<DataSet>& sets) {
  if (sets.empty()) return "WRONG: no golden data";
  for (const DataSet& set : sets) {
    std::vector<std::pair<std::string, Tensor>> values;
    for (int i = 0; i < static_cast<int>(set.inputs.size()) && i < graph.input_size(); ++i) {
      onnx::TensorProto tensor = set.inputs[static_cast<size_t>(i)];
      tensor.set_name(graph.input(i).name());
      CorrectType(graph.input(i), &tensor);
      absl::StatusOr<Tensor> value = Read(tensor);
      // Sequences and optionals are no tensors, although their bytes may parse as such.
      if (!value.ok() || !graph.input(i).type().has_tensor_type()) continue;
      const onnx::TensorShapeProto& declared = graph.input(i).type().tensor_type().shape();
      for (int d = 0; d < declared.dim_size() && static_cast<size_t>(d) < value->shape.size(); ++d) {
        const int64_t extent = declared.dim(d).dim_value();
        if (extent > 0 && extent != value->shape[static_cast<size_t>(d)])
          return "unusable: golden input of another shape";
      }
      values.emplace_back(tensor.name(), *std::move(value));
    }
    const absl::StatusOr<Graph> imported = ImportOnnx(path);
    if (!imported.ok()) {
      const bool refused = imported.status().code() == absl::StatusCode::kUnimplemented;
      return (refused ? "refused: " : "WRONG: ") + Reasons(imported.status());
    }
    std::vector<Tensor> expected;
    for (int i = 0; i < static_cast<int>(set.outputs.size()); ++i) {
      onnx::TensorProto proto = set.outputs[static_cast<size_t>(i)];
      if (i < graph.output_size()) CorrectType(graph.output(i), &proto);
      absl::StatusOr<Tensor> tensor = Read(proto);
      if (!tensor.ok()) return "WRONG: golden output: " + std::string(tensor.status().message());
      expected.push_back(std::move(*tensor));
    }
    std::string difference;
    absl::Status status = RunAndCompare(*imported, {"reference"}, values, expected, &difference);
    if (!status.ok()) return "WRONG: " + std::string(status.message());
    if (!difference.empty()) return "WRONG: " + difference;
    Graph rewritten = *imported;
    if (status = RunPasses(&rewritten); status.ok()) {
      status = RunAndCompare(rewritten, {}, values, expected, &difference);
    }
    if (!status.ok()) return "WRONG: after the passes: " + std::string(status.message());
    if (!difference.empty()) return "WRONG: after the passes: " + difference;
  }
  return "pass";
}

}  // namespace

std::string RunOnnxCase(const std::string& folder) {
  const std::string path = folder + "/model.onnx";
  onnx::ModelProto model;
  if (!model.ParseFromString(ReadBytes(path))) return "WRONG: not a model";
  std::vector<DataSet> sets;
  for (int i = 0;; ++i) {
    const std::filesystem::path data = std::filesystem::path(folder) / ("test_data_set_" + std::to_string(i));
    if (!std::filesystem::exists(data)) break;
    sets.push_back({ReadTensors(data, "input_"), ReadTensors(data, "output_")});
  }
  return Run(model.graph(), path, sets);
}

}  // namespace tally::testing
