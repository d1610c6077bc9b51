#include "backends/nearmem/lowering.h"

#include <algorithm>

#include "runtime/ops/op.h"

namespace tally::nearmem {
namespace {

constexpr int kFloatBits = 32;
constexpr int kInt8Bits = 8;

bool IsProduct(const Node& node) { return node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul"; }

LayerShape ShapeOf(const Problem& problem) {
  LayerShape s;
  if (problem.kind == Problem::Kind::kConv) {
    const Window2d& w = problem.window;
    s.groups = w.group;
    s.outputs = w.out_channels_per_group();
    s.channels = w.in_channels_per_group();
    s.batch = w.batch;
    s.in_h = w.in_h;
    s.in_w = w.in_w;
    s.out_h = w.out_h;
    s.out_w = w.out_w;
    s.kernel_h = w.kernel_h;
    s.kernel_w = w.kernel_w;
    s.stride_h = w.stride_h;
    s.stride_w = w.stride_w;
    s.dilation_h = w.dilation_h;
    s.dilation_w = w.dilation_w;
    s.pad_top = w.pad_top;
    s.pad_left = w.pad_left;
    return s;
  }
  s.groups = problem.kind == Problem::Kind::kMatMul ? static_cast<int64_t>(problem.batch.count()) : 1;
  s.outputs = static_cast<int64_t>(problem.outputs);
  s.channels = static_cast<int64_t>(problem.k);
  s.in_w = s.out_w = static_cast<int64_t>(problem.rows);
  return s;
}

}  // namespace

Consumers ConsumersOf(const Graph& graph, int tensor) {
  Consumers consumers;
  consumers.host = std::count(graph.outputs.begin(), graph.outputs.end(), tensor) > 0;
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] != tensor) continue;
      const OpDef* def = FindOp(node.op);
      if (def != nullptr && def->is_view && i == 0) {
        const Consumers behind = ConsumersOf(graph, node.outputs[0]);
        consumers.codes |= behind.codes;
        consumers.residual |= behind.residual;
        consumers.host |= behind.host;
      } else if (!IsProduct(node)) {
        consumers.host = true;
      } else if (i == 0 || node.op == "MatMul") {
        consumers.codes = true;
      } else {
        consumers.residual = true;
      }
    }
  }
  return consumers;
}

OutputTraffic TrafficOf(const Graph& graph, int tensor, int code_bits, bool has_residual) {
  const Consumers consumers = ConsumersOf(graph, tensor);
  OutputTraffic traffic;
  traffic.quantized = consumers.codes;
  traffic.written_bits = (consumers.codes ? code_bits : 0) + (consumers.residual ? kFloatBits : 0);
  traffic.residual_bits = has_residual ? kFloatBits : 0;
  return traffic;
}

Layer LowerLayer(const Problem& problem, const NodeContext& context, bool int8) {
  Layer layer;
  layer.shape = ShapeOf(problem);
  layer.weights_move = problem.kind == Problem::Kind::kMatMul;
  const int output = context.node.outputs[0];
  const std::optional<Codebook>& book = context.graph.tensors[static_cast<size_t>(output)].codebook;
  // Behind a view the codebook is the viewed tensor's; its width stands for both.
  const int code_bits = int8 || !book.has_value() ? kInt8Bits : book->stored_bits();
  layer.output = TrafficOf(context.graph, output, code_bits, problem.epilogue.has_residual);
  // Zeros and signs are read from the codes on either machine.
  layer.bits = {problem.a.stored_bits(), problem.a.exponent_bits, problem.w.stored_bits(), problem.w.exponent_bits,
                !problem.a.is_signed};
  if (int8) {
    layer.bits.activation_bits = layer.bits.weight_bits = kInt8Bits;
  } else if (!problem.is_real()) {
    layer.mantissas = {problem.a.mantissas, problem.w.mantissas};
  }
  return layer;
}

LayerOperands LowerOperands(const Problem& problem, const LayerShape& s) {
  LayerOperands operands;
  const int64_t k = s.k();
  for (int64_t g = 0; g < s.groups; ++g) {
    const size_t index = static_cast<size_t>(g);
    if (problem.kind == Problem::Kind::kMatMul) {
      operands.activation_groups.push_back(static_cast<int64_t>(problem.batch.AOffset(index)) * s.out_w * k);
      operands.weight_groups.push_back(static_cast<int64_t>(problem.batch.BOffset(index)) * s.outputs * k);
    } else {
      operands.activation_groups.push_back(g * s.channels * s.in_h * s.in_w);
      operands.weight_groups.push_back(g * s.outputs * k);
    }
  }
  if (problem.kind == Problem::Kind::kConv) {
    operands.column = 1;
    operands.row = s.in_w;
    operands.channel = s.in_h * s.in_w;
    operands.image = s.groups * s.channels * operands.channel;
  } else {
    operands.channel = 1;
    operands.column = k;
  }
  const bool columns = problem.kind == Problem::Kind::kMatMul;  // its second input is [k, outputs]
  operands.weight_output = columns ? 1 : k;
  operands.weight_k = columns ? s.outputs : 1;
  return operands;
}

OutputPlace PlaceOf(const Problem& problem, const LayerShape& s, int64_t output, int64_t position) {
  int64_t element = 0, channel = output;
  switch (problem.kind) {
    case Problem::Kind::kConv: {
      const int64_t plane = s.out_h * s.out_w;
      element = (position / plane * s.all_outputs() + output) * plane + position % plane;
      break;
    }
    case Problem::Kind::kGemm: element = position * s.outputs + output; break;
    case Problem::Kind::kMatMul:
      element = (output / s.outputs * s.out_w + position) * s.outputs + output % s.outputs;
      channel = 0;
      break;
  }
  return {static_cast<size_t>(element), static_cast<size_t>(channel)};
}

}  // namespace tally::nearmem
