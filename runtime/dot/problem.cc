#include "runtime/dot/problem.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

absl::Status Refuse(const std::string& reason) { return MakeError(ErrorId::kUnsupportedNode, reason); }

absl::StatusOr<Codebook> ActivationCodebook(const NodeContext& context, size_t input) {
  const Tensor* tensor = context.input(input);
  if (tensor == nullptr) return Refuse(absl::StrCat("input ", input, " is absent"));
  if (context.inputs[input].dtype != DType::kFloat32) {
    return Refuse(absl::StrCat("input ", Quoted(tensor->name), " is ", DTypeName(context.inputs[input].dtype),
                               ", expected float32"));
  }
  if (!tensor->codebook.has_value()) return Refuse(absl::StrCat("input ", Quoted(tensor->name), " has no codebook"));
  return *tensor->codebook;
}

// float32 of the float64 product (s_a * s_w) * c_o; the channel factor alone where the accumulator is a real value.
std::vector<float> ChannelScales(const Problem& problem, size_t channels) {
  const std::vector<float> none;
  const std::vector<float>& factors = problem.weights != nullptr ? problem.weights->channel_scales : none;
  if (problem.is_real()) return factors;
  const double scale = static_cast<double>(problem.a.scale) * static_cast<double>(problem.w.scale);
  std::vector<float> scales(channels, static_cast<float>(scale));
  for (size_t o = 0; o < factors.size(); ++o) scales[o] = static_cast<float>(scale * static_cast<double>(factors[o]));
  return scales;
}

absl::Status ReadWeights(const NodeContext& context, Problem* problem) {
  TALLY_ASSIGN_OR_RETURN(problem->a, ActivationCodebook(context, 0));
  const Tensor* weight = context.input(1);
  if (weight == nullptr) return Refuse("weight is absent");
  if (!weight->codes.has_value()) {
    return Refuse(absl::StrCat("weight ", Quoted(weight->name), weight->is_constant() ? "" : " is not a constant and",
                               " has no codes"));
  }
  problem->weights = &*weight->codes;
  problem->w = weight->codes->codebook;
  for (size_t i = 2; i < 4; ++i) {
    const Tensor* extra = context.input(i);
    if (extra == nullptr) continue;
    if (context.inputs[i].dtype != DType::kFloat32 || (extra->is_constant() && !extra->has_data)) {
      return Refuse(absl::StrCat(i == 2 ? "bias " : "residual ", Quoted(extra->name), " is not plain float32"));
    }
  }
  problem->epilogue.code_bias = weight->codes->bias;
  problem->epilogue.has_bias = context.input(2) != nullptr;
  problem->epilogue.has_residual = context.input(3) != nullptr;
  TALLY_ASSIGN_OR_RETURN(problem->epilogue.activation, FusedActivation(context.node));
  return absl::OkStatus();
}

absl::Status ReadConv(const NodeContext& context, Problem* problem) {
  problem->kind = Problem::Kind::kConv;
  TALLY_RETURN_IF_ERROR(ReadWeights(context, problem));
  TALLY_ASSIGN_OR_RETURN(problem->window, ConvWindow(context.node, context.inputs[0].shape, context.inputs[1].shape));
  problem->outputs = static_cast<size_t>(problem->window.out_channels);
  problem->k = static_cast<size_t>(problem->window.k());
  problem->epilogue.scales = ChannelScales(*problem, problem->outputs);
  return absl::OkStatus();
}

absl::Status ReadGemm(const NodeContext& context, Problem* problem) {
  problem->kind = Problem::Kind::kGemm;
  TALLY_RETURN_IF_ERROR(ReadWeights(context, problem));
  const Shape& weight = context.inputs[1].shape;
  const Shape& x = context.inputs[0].shape;
  if (weight.size() != 2 || x.empty() || x.back() != weight[1]) {
    return Refuse(absl::StrCat("shapes ", ShapeString(x), " and ", ShapeString(weight), " do not multiply"));
  }
  problem->outputs = static_cast<size_t>(weight[0]);
  problem->k = static_cast<size_t>(weight[1]);
  problem->rows = 1;
  for (size_t d = 0; d + 1 < x.size(); ++d) problem->rows *= static_cast<size_t>(x[d]);
  problem->epilogue.scales = ChannelScales(*problem, problem->outputs);
  return absl::OkStatus();
}

absl::Status ReadMatMul(const NodeContext& context, Problem* problem) {
  problem->kind = Problem::Kind::kMatMul;
  TALLY_ASSIGN_OR_RETURN(problem->a, ActivationCodebook(context, 0));
  TALLY_ASSIGN_OR_RETURN(problem->w, ActivationCodebook(context, 1));
  Shape a = context.inputs[0].shape;
  Shape b = context.inputs[1].shape;
  const auto mismatch = [&] {
    return Refuse(absl::StrCat("shapes ", ShapeString(context.inputs[0].shape), " and ",
                               ShapeString(context.inputs[1].shape), " do not multiply"));
  };
  if (a.empty() || b.empty()) return mismatch();
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  problem->rows = static_cast<size_t>(a[a.size() - 2]);
  problem->k = static_cast<size_t>(a.back());
  problem->outputs = static_cast<size_t>(b.back());
  if (b[b.size() - 2] != a.back()) return mismatch();
  a.resize(a.size() - 2);
  b.resize(b.size() - 2);
  const size_t rank = std::max(a.size(), b.size());
  a.insert(a.begin(), rank - a.size(), 1);
  b.insert(b.begin(), rank - b.size(), 1);
  MatrixBatch& batch = problem->batch;
  batch.extents.resize(rank);
  batch.a_strides.resize(rank);
  batch.b_strides.resize(rank);
  int64_t a_stride = 1, b_stride = 1;
  for (size_t d = rank; d-- > 0;) {
    if (a[d] != b[d] && a[d] != 1 && b[d] != 1) return mismatch();
    batch.extents[d] = a[d] == 1 ? b[d] : a[d];
    batch.a_strides[d] = a[d] == 1 ? 0 : a_stride;
    batch.b_strides[d] = b[d] == 1 ? 0 : b_stride;
    a_stride *= a[d];
    b_stride *= b[d];
  }
  problem->epilogue.scales = ChannelScales(*problem, 1);
  return absl::OkStatus();
}

}  // namespace

size_t MatrixBatch::count() const {
  size_t n = 1;
  for (int64_t d : extents) n *= static_cast<size_t>(d);
  return n;
}

size_t MatrixBatch::Offset(size_t index, const std::vector<int64_t>& strides) const {
  size_t offset = 0;
  for (size_t d = extents.size(); d-- > 0;) {
    const size_t extent = static_cast<size_t>(extents[d]);
    offset += index % extent * static_cast<size_t>(strides[d]);
    index /= extent;
  }
  return offset;
}

double Problem::products() const {
  double results = static_cast<double>(rows) * static_cast<double>(outputs);
  if (kind == Kind::kMatMul) results *= static_cast<double>(batch.count());
  if (kind == Kind::kConv)
    results = static_cast<double>(window.batch * window.out_h * window.out_w) * static_cast<double>(outputs);
  return results * static_cast<double>(k);
}

EpilogueRow Epilogue::Row(const RunArgs& args, size_t first, size_t step, size_t element) const {
  EpilogueRow row;
  row.scale = scales.empty() ? nullptr : scales.data() + first;
  const float* bias = has_bias ? static_cast<const float*>(args.inputs[2]) : nullptr;
  if (!code_bias.empty()) bias = code_bias.data();
  row.bias = bias == nullptr ? nullptr : bias + first;
  row.channel_step = step;
  row.residual = has_residual ? static_cast<const float*>(args.inputs[3]) + element : nullptr;
  row.activation = activation;
  return row;
}

absl::StatusOr<Problem> MakeProblem(const NodeContext& context) {
  Problem problem;
  if (context.node.op == "Conv") {
    TALLY_RETURN_IF_ERROR(ReadConv(context, &problem));
  } else if (context.node.op == "Gemm") {
    TALLY_RETURN_IF_ERROR(ReadGemm(context, &problem));
  } else if (context.node.op == "MatMul") {
    TALLY_RETURN_IF_ERROR(ReadMatMul(context, &problem));
  } else {
    return Refuse(absl::StrCat("operator ", Quoted(context.node.op), " has no dot product of codes"));
  }
  for (int64_t d : context.outputs[0].shape) problem.is_empty |= d == 0;
  return problem;
}

}  // namespace tally
