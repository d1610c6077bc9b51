#include "backends/nearmem/network.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "backends/nearmem/lowering.h"
#include "runtime/ops/op.h"

namespace tally::nearmem {
namespace {

constexpr int64_t kFloatBytes = 4;
constexpr int kInt8Bits = 8;

// A transfer over the link as a layer of its own: nothing else moves meanwhile.
LayerResult Transfer(const SimulatedMachine& machine, int64_t bytes) {
  LayerResult result;
  const double ns = static_cast<double>(bytes) / machine.config.link.gb_s;
  result.cycles.link = static_cast<Cycle>(std::ceil(ns / machine.dram.timing.tck_ns));
  result.bytes.link = bytes;
  result.vault_cycles = result.cycles.total() * machine.config.vaults();
  if (machine.dram.controller.refresh == RefreshMode::kAllBank) {
    result.dram.refreshes = result.cycles.total() / machine.dram.timing.refi * machine.config.vaults();
  }
  return result;
}

int LanesForBandwidth(const Machine& machine, double stored_bits) {
  const double bits =
      8 * machine.dram.peak_gb_s() * machine.dram.timing.tck_ns * machine.accelerator->lanes.clock_divider;
  return std::max(1, static_cast<int>(std::ceil(bits / stored_bits)));
}

class TransferList {
 public:
  TransferList(const Graph& graph, const std::function<int64_t(int)>& elements,
               const std::vector<SimulatedMachine>& machines)
      : graph_(graph), elements_(elements), machines_(machines), root_(graph.tensors.size()) {
    for (size_t t = 0; t < root_.size(); ++t) root_[t] = static_cast<int>(t);
  }

  // What `tensor` looks at, behind views.
  int Root(int tensor) const { return root_[static_cast<size_t>(tensor)]; }
  void View(int tensor, int of) { root_[static_cast<size_t>(tensor)] = Root(of); }
  void MadeInMemory(int tensor) { in_memory_.insert(tensor); }

  // Bytes of each machine's transfer.
  void ToHost(int tensor, std::vector<int64_t>* bytes) {
    if (tensor < 0 || in_memory_.count(Root(tensor)) == 0 || !crossed_.insert(Root(tensor)).second) return;
    for (int64_t& b : *bytes) b += elements_(tensor) * kFloatBytes;
  }
  void ToMemory(int tensor, std::vector<int64_t>* bytes) {
    if (tensor < 0) return;
    const Consumers consumers = ConsumersOf(graph_, tensor);
    const std::optional<Codebook>& book = graph_.tensors[static_cast<size_t>(tensor)].codebook;
    for (size_t m = 0; m < machines_.size(); ++m) {
      const int bits = machines_[m].int8 || !book ? kInt8Bits : book->stored_bits();
      if (consumers.codes) (*bytes)[m] += (elements_(tensor) * bits + 7) / 8;
      if (consumers.residual) (*bytes)[m] += elements_(tensor) * kFloatBytes;
    }
  }

  std::vector<int64_t> Nothing() const { return std::vector<int64_t>(machines_.size(), 0); }
  void Add(const std::string& name, const std::string& op, const std::vector<int64_t>& bytes,
           std::vector<LayerRecord>* records) const {
    if (*std::max_element(bytes.begin(), bytes.end()) == 0) return;
    records->push_back(TransferRecord(name, op, bytes, machines_));
  }

 private:
  const Graph& graph_;
  const std::function<int64_t(int)>& elements_;
  const std::vector<SimulatedMachine>& machines_;
  std::vector<int> root_;
  std::set<int> in_memory_, crossed_;
};

}  // namespace

ComparedMachines Compare(const Machine& machine, LaneProgram program, const NetworkBits& bits, DramMode mode) {
  ComparedMachines compared;
  const LaneConfig& lanes = machine.accelerator->lanes;
  const auto with_lanes = [&](bool int8, int count) {
    SimulatedMachine simulated{int8, *machine.accelerator, machine.dram, mode};
    simulated.config.lanes.lanes = std::max(1, count);
    for (size_t m = 0; m < compared.machines.size(); ++m) {
      const SimulatedMachine& known = compared.machines[m];
      if (known.int8 == int8 && known.config.lanes.lanes == simulated.config.lanes.lanes) return static_cast<int>(m);
    }
    compared.machines.push_back(simulated);
    return static_cast<int>(compared.machines.size()) - 1;
  };
  const int counting = with_lanes(false, lanes.lanes);
  compared.comparisons.push_back({"iso_lane", counting, with_lanes(true, lanes.lanes)});
  const int counters = CountersPerLane(program, bits.activation_exponent_bits, bits.weight_exponent_bits);
  const double area = lanes.lanes * LaneArea(lanes, program, counters);
  const int mac_lanes = static_cast<int>(area / LaneArea(lanes, LaneProgram::kMac, 0));
  compared.comparisons.push_back({"iso_area", counting, with_lanes(true, mac_lanes)});
  const int narrow = with_lanes(false, LanesForBandwidth(machine, bits.weight_bits_mean));
  compared.comparisons.push_back({"iso_bandwidth", narrow, with_lanes(true, LanesForBandwidth(machine, kInt8Bits))});
  return compared;
}

LayerRecord TransferRecord(const std::string& name, const std::string& op, const std::vector<int64_t>& bytes,
                           const std::vector<SimulatedMachine>& machines) {
  LayerRecord record{name, op, {}, {}, {}};
  for (size_t m = 0; m < machines.size(); ++m) {
    record.machines.push_back(
        {machines[m].int8 ? LaneProgram::kMac : LaneProgram::kBucketed, {}, Transfer(machines[m], bytes[m]), {}});
  }
  return record;
}

NetworkBits BitsOf(const Graph& graph) {
  NetworkBits bits;
  double elements = 0;
  for (const Node& node : graph.nodes) {
    if (node.inputs.size() < 2 || node.inputs[0] < 0 || node.inputs[1] < 0) continue;
    if (node.op != "Conv" && node.op != "Gemm" && node.op != "MatMul") continue;
    const Tensor& a = graph.tensors[static_cast<size_t>(node.inputs[0])];
    const Tensor& w = graph.tensors[static_cast<size_t>(node.inputs[1])];
    const Codebook* book = w.codes ? &w.codes->codebook : w.codebook ? &*w.codebook : nullptr;
    if (!a.codebook || book == nullptr) continue;
    bits.activation_exponent_bits = std::max(bits.activation_exponent_bits, a.codebook->exponent_bits);
    bits.weight_exponent_bits = std::max(bits.weight_exponent_bits, book->exponent_bits);
    if (!w.codes) continue;
    const double count = static_cast<double>(w.elements());
    bits.weight_bits_mean += count * book->stored_bits();
    elements += count;
  }
  bits.weight_bits_mean = elements > 0 ? bits.weight_bits_mean / elements : kInt8Bits;
  return bits;
}

std::vector<LayerRecord> WithTransfers(const Graph& graph, const std::vector<LayerRecord>& in_memory,
                                       const std::function<int64_t(int tensor)>& elements,
                                       const std::vector<SimulatedMachine>& machines) {
  TransferList transfers(graph, elements, machines);
  std::vector<LayerRecord> all;
  for (const int t : graph.inputs) {
    std::vector<int64_t> bytes = transfers.Nothing();
    transfers.ToMemory(t, &bytes);
    transfers.Add(absl::StrCat("input:", graph.tensors[static_cast<size_t>(t)].name), "Input", bytes, &all);
  }
  for (const Node& node : graph.nodes) {
    const auto record =
        std::find_if(in_memory.begin(), in_memory.end(), [&](const LayerRecord& r) { return r.node == node.name; });
    if (record != in_memory.end()) {
      all.push_back(*record);
      for (const int t : node.outputs) transfers.MadeInMemory(t);
      continue;
    }
    const OpDef* def = FindOp(node.op);
    if (def != nullptr && def->is_view && node.inputs[0] >= 0) {
      transfers.View(node.outputs[0], node.inputs[0]);
      continue;
    }
    std::vector<int64_t> bytes = transfers.Nothing();
    for (const int t : node.inputs) transfers.ToHost(t, &bytes);
    for (const int t : node.outputs) transfers.ToMemory(t, &bytes);
    transfers.Add(node.name, node.op, bytes, &all);
  }
  for (const int t : graph.outputs) {
    std::vector<int64_t> bytes = transfers.Nothing();
    transfers.ToHost(t, &bytes);
    transfers.Add(absl::StrCat("output:", graph.tensors[static_cast<size_t>(t)].name), "Output", bytes, &all);
  }
  return all;
}

}  // namespace tally::nearmem
