#include "backends/nearmem/nearmem.h"

#include <algorithm>
#include <utility>

#include "backends/nearmem/lowering.h"
#include "format/bit_packing.h"
#include "format/error.h"
#include "runtime/dot/embedding.h"
#include "runtime/dot/folded.h"

namespace tally {
namespace nearmem {

void Recorder::Add(LayerRecord record) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known =
      std::find_if(records_.begin(), records_.end(), [&](const LayerRecord& r) { return r.node == record.node; });
  if (known == records_.end()) {
    records_.push_back(std::move(record));
  } else {
    *known = std::move(record);
  }
}

std::vector<LayerRecord> Recorder::Take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(records_, {});
}

namespace {

// The preset hmc; read once, as every node of a session asks for it.
const absl::StatusOr<std::vector<SimulatedMachine>>& DefaultMachines() {
  static const auto machines = []() -> absl::StatusOr<std::vector<SimulatedMachine>> {
    TALLY_ASSIGN_OR_RETURN(const Machine machine, LoadAccelerator("hmc"));
    return std::vector<SimulatedMachine>{{false, *machine.accelerator, machine.dram, DramMode::kEvent}};
  }();
  return machines;
}

// The lane program that a node needs, or why there is none.
absl::StatusOr<LaneProgram> ProgramFor(const Problem& problem, const std::optional<LaneProgram>& asked) {
  const auto refuse = [](const char* why) { return MakeError(ErrorId::kUnsupportedNode, why); };
  if (!problem.is_real()) {
    if (asked == LaneProgram::kFolded) {
      return refuse("folded: rounded mantissas of an integer grid are no function of i + j");
    }
    return LaneProgram::kBucketed;
  }
  if (asked == LaneProgram::kBucketed) return refuse("bucketed: the real grid has no integer mantissas");
  if (!FoldedSum::Takes(problem.a, problem.w)) {
    return refuse("folded: activations and weights are not both on the real grid with one base");
  }
  return LaneProgram::kFolded;
}

// Finishes results into the node's output.
class EpilogueSink final : public ResultSink {
 public:
  EpilogueSink(const Problem& problem, const LayerShape& shape, const FoldedSum* folded, const RunArgs& args)
      : problem_(problem), shape_(shape), folded_(folded), args_(args) {}

  void TakeInteger(int64_t output, int64_t position, int64_t sum) override { Finish(output, position, sum); }
  void TakeFolded(int64_t output, int64_t position, const LaneArray::Folded& c) override {
    Finish(output, position, folded_->Combine(c.of_sum, c.of_a, c.of_w, c.signs));
  }

 private:
  template <typename T>
  void Finish(int64_t output, int64_t position, T sum) const {
    const OutputPlace place = PlaceOf(problem_, shape_, output, position);
    const EpilogueRow row = problem_.epilogue.Row(args_, place.channel, 0, place.element);
    FinishRow(&sum, 1, row, static_cast<float*>(args_.outputs[0]) + place.element);
  }

  const Problem& problem_;
  const LayerShape& shape_;
  const FoldedSum* const folded_;
  const RunArgs& args_;
};

class NearmemNode final : public CompiledNode {
 public:
  NearmemNode(Problem problem, const NodeContext& context, LaneProgram program,
              const std::vector<SimulatedMachine>& machines, const Options& options)
      : problem_(std::move(problem)),
        program_(program),
        name_(context.node.name),
        op_(context.node.op),
        recorder_(options.recorder),
        record_spans_(options.record_spans) {
    if (program == LaneProgram::kFolded) folded_.emplace(problem_.a, problem_.w);
    if (!problem_.is_empty) layer_ = LowerLayer(problem_, context, /*int8=*/false);
    if (!problem_.is_empty && problem_.k > 0) Prepare(context, machines);
    problem_.weights = nullptr;
  }

  absl::Status Run(const RunArgs& args) override {
    if (problem_.is_empty) return absl::OkStatus();
    EpilogueSink sink(problem_, layer_.shape, folded_ ? &*folded_ : nullptr, args);
    if (problem_.k == 0) {
      FinishNothing(&sink);
      return absl::OkStatus();
    }
    LayerOperands operands = operands_;
    operands.activations = static_cast<const uint8_t*>(args.inputs[0]);
    if (layer_.weights_move) operands.weights = static_cast<const uint8_t*>(args.inputs[1]);
    LayerRecord record{name_, op_, layer_.shape, {}, {}};
    for (size_t m = 0; m < simulators_.size(); ++m) {
      const LayerSimulator& simulator = simulators_[m];
      const LayerSimulator::Streams moving =
          layer_.weights_move ? simulator.PackWeights(operands) : LayerSimulator::Streams();
      TALLY_ASSIGN_OR_RETURN(LayerResult result, simulator.Run(operands, layer_.weights_move ? moving : streams_[m],
                                                               args.pool, m == 0 ? &sink : nullptr,
                                                               m == 0 && record_spans_ ? &record.spans : nullptr));
      record.machines.push_back(
          {simulator.accelerator().program, simulator.layer().bits, std::move(result), simulator.mappings()});
    }
    if (recorder_ != nullptr) recorder_->Add(std::move(record));
    return absl::OkStatus();
  }

  Encoding input_encoding(size_t i) const override {
    const bool codes = i == 0 || (i == 1 && problem_.kind == Problem::Kind::kMatMul);
    return codes ? Encoding::kCodes : Encoding::kPlain;
  }
  size_t resident_weight_bytes() const override {
    size_t bytes = 0;
    for (const LayerSimulator::Streams& streams : streams_) {
      for (const std::vector<uint8_t>& stream : streams) bytes += stream.size();
    }
    return bytes;
  }
  std::string kernel() const override { return LaneProgramName(program_); }
  std::string isa() const override { return "simulated"; }

 private:
  void Prepare(const NodeContext& context, const std::vector<SimulatedMachine>& machines) {
    operands_ = LowerOperands(problem_, layer_.shape);
    std::vector<uint8_t> codes;
    LayerOperands operands = operands_;
    if (!layer_.weights_move) {
      codes.resize(problem_.outputs * problem_.k);
      UnpackBits(problem_.weights->packed.data(), problem_.w.stored_bits(), 0, codes.size(), codes.data());
      operands.weights = codes.data();
    }
    for (const SimulatedMachine& machine : machines) {
      const Accelerator accelerator{machine.int8 ? LaneProgram::kMac : program_, machine.config, machine.dram,
                                    machine.dram_mode};
      simulators_.emplace_back(accelerator, machine.int8 ? LowerLayer(problem_, context, /*int8=*/true) : layer_);
      streams_.push_back(layer_.weights_move ? LayerSimulator::Streams() : simulators_.back().PackWeights(operands));
    }
  }

  // Sums over nothing.
  void FinishNothing(EpilogueSink* sink) const {
    const std::vector<int32_t> zeros(4 << kMaxExponentBits, 0);
    const LayerShape shape = layer_.shape;
    for (int64_t o = 0; o < shape.all_outputs(); ++o) {
      for (int64_t p = 0; p < shape.positions(); ++p) {
        if (folded_) {
          sink->TakeFolded(o, p, {zeros.data(), zeros.data(), zeros.data(), 0});
        } else {
          sink->TakeInteger(o, p, 0);
        }
      }
    }
  }

  Problem problem_;
  const LaneProgram program_;
  const std::string name_, op_;
  const std::shared_ptr<Recorder> recorder_;
  const bool record_spans_;
  std::optional<FoldedSum> folded_;
  Layer layer_;
  LayerOperands operands_;
  std::vector<LayerSimulator> simulators_;
  std::vector<LayerSimulator::Streams> streams_;  // of each, unless the weights move
};

// Embeddings are decoded by the host, outside the simulation: there is nothing to count.
class NearmemBackend final : public QuantizedBackend {
 public:
  explicit NearmemBackend(Options options) : QuantizedBackend(TableForm::kCodes), options_(std::move(options)) {}

  std::string name() const override { return "nearmem"; }

 protected:
  absl::Status SupportsProduct(const NodeContext& context) const override {
    TALLY_ASSIGN_OR_RETURN(const Problem problem, MakeProblem(context));
    return ProgramFor(problem, options_.program).status();
  }

  absl::StatusOr<std::unique_ptr<CompiledNode>> CompileProduct(const NodeContext& context) const override {
    TALLY_ASSIGN_OR_RETURN(Problem problem, MakeProblem(context));
    TALLY_ASSIGN_OR_RETURN(const LaneProgram program, ProgramFor(problem, options_.program));
    if (options_.machines.empty() && !DefaultMachines().ok()) return DefaultMachines().status();
    const std::vector<SimulatedMachine>& machines = options_.machines.empty() ? *DefaultMachines() : options_.machines;
    return std::unique_ptr<CompiledNode>(new NearmemNode(std::move(problem), context, program, machines, options_));
  }

 private:
  const Options options_;
};

}  // namespace
}  // namespace nearmem

std::shared_ptr<const Backend> MakeNearmemBackend(nearmem::Options options) {
  return std::make_shared<nearmem::NearmemBackend>(std::move(options));
}

}  // namespace tally
