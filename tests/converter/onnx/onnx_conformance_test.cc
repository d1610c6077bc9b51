// The ONNX project's own operator tests (Debian's libonnx-testdata): whatever the importer takes must compute what ONNX
// says; everything else must be refused as unsupported. Each model runs as it is and with all inputs but the first made
// constant, before and after the passes.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "converter/onnx/constants.h"
#include "converter/passes/passes.h"
#include "tests/converter/onnx/onnx_builder.h"
#include "tests/converter/onnx/run_graph.h"

namespace tally::testing {
namespace {

constexpr char kFolder[] = "/usr/share/libonnx-testdata/data/node";

std::string ReadBytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Reads input_0.pb, input_1.pb, ... (or outputs) as long as they are tensors.
std::vector<onnx::TensorProto> ReadTensors(const std::filesystem::path& folder, const std::string& prefix) {
  std::vector<onnx::TensorProto> tensors;
  for (int i = 0;; ++i) {
    const auto path = folder / (prefix + std::to_string(i) + ".pb");
    onnx::TensorProto tensor;
    if (!std::filesystem::exists(path) || !tensor.ParseFromString(ReadBytes(path))) return tensors;
    tensors.push_back(tensor);
  }
}

struct Tally {
  int computed = 0;
  int refused = 0;
};

void Check(const onnx::ModelProto& model, const std::vector<onnx::TensorProto>& inputs,
           const std::vector<onnx::TensorProto>& outputs, bool constant_inputs, Tally* tally) {
  OnnxBuilder builder;
  builder.model() = model;
  onnx::GraphProto& graph = builder.graph();
  Values values;
  ConstantReader reader("", Limits());
  for (int i = 0; i < static_cast<int>(inputs.size()) && i < graph.input_size(); ++i) {
    onnx::TensorProto tensor = inputs[static_cast<size_t>(i)];
    tensor.set_name(graph.input(i).name());
    std::string unsupported;
    absl::StatusOr<Tensor> value = reader.Read(tensor, &unsupported);
    // Sequences and optionals are no tensors, although their bytes may parse as such.
    if (!value.ok() || !graph.input(i).type().has_tensor_type()) continue;
    if (constant_inputs && i > 0) {
      *graph.add_initializer() = tensor;
    } else {
      values[tensor.name()] = *value;
    }
  }
  absl::StatusOr<Graph> imported = builder.Import();
  if (!imported.ok()) {
    // Not supported, or (tensors of rank 7) beyond a limit.
    const int exit = ExitStatus(imported.status());
    EXPECT_TRUE(exit == 6 || exit == 5) << imported.status();
    ++tally->refused;
    return;
  }
  ++tally->computed;
  Graph rewritten = *imported;
  const absl::Status passes = RunPasses(&rewritten);
  ASSERT_TRUE(passes.ok()) << passes;
  for (const Graph* g : {&*imported, &rewritten}) {
    absl::StatusOr<Values> results = RunGraph(*g, values);
    ASSERT_TRUE(results.ok()) << results.status();
    ASSERT_LE(g->outputs.size(), outputs.size());
    for (size_t i = 0; i < g->outputs.size(); ++i) {
      std::string unsupported;
      const absl::StatusOr<Tensor> expected = reader.Read(outputs[i], &unsupported);
      ASSERT_TRUE(expected.ok() && unsupported.empty());
      // 1e-4: ONNX's own runner allows 1e-3; the expected values are numpy's, with another order of sums.
      EXPECT_TRUE(Close(*expected, (*results)[g->tensors[static_cast<size_t>(g->outputs[i])].name], 1e-4))
          << Summary(*g);
    }
  }
}

TEST(OnnxConformance, ImportedOperatorsComputeWhatOnnxSays) {
  if (!std::filesystem::exists(kFolder)) GTEST_SKIP() << "libonnx-testdata is not installed";
  Tally as_is, constant;
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  for (const auto& folder : folders) {
    SCOPED_TRACE(folder.filename().string());
    onnx::ModelProto model;
    ASSERT_TRUE(model.ParseFromString(ReadBytes(folder / "model.onnx")));
    const auto inputs = ReadTensors(folder / "test_data_set_0", "input_");
    const auto outputs = ReadTensors(folder / "test_data_set_0", "output_");
    Check(model, inputs, outputs, false, &as_is);
    Check(model, inputs, outputs, true, &constant);
  }
  // So that the test cannot pass by refusing everything.
  EXPECT_GE(as_is.computed, 139);
  EXPECT_GE(constant.computed, 180);
  std::printf("as is: %d computed, %d refused; constant inputs: %d computed, %d refused\n", as_is.computed,
              as_is.refused, constant.computed, constant.refused);
}

}  // namespace
}  // namespace tally::testing
