// Every operator under attributes, shapes and values that no exporter writes: it is refused with one of the documented
// errors, or it runs, allocating nothing and giving the same bytes with a pool. The sanitizer builds see the rest.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "format/error.h"
#include "runtime/ops/element_types.h"
#include "runtime/ops/movement.h"
#include "tests/ops/op_runner.h"
#include "tests/testing/count_allocations.h"

namespace tally {
namespace {

using testing::allocations;
using testing::OpRunner;
using I = std::vector<int64_t>;

constexpr int64_t kHostile[] = {0,
                                1,
                                2,
                                3,
                                -1,
                                -2,
                                -3,
                                5,
                                7,
                                64,
                                -64,
                                2147483647,
                                2147483648,
                                -2147483648,
                                std::numeric_limits<int64_t>::max(),
                                std::numeric_limits<int64_t>::max() - 1,
                                std::numeric_limits<int64_t>::min(),
                                std::numeric_limits<int64_t>::min() + 1};
// Bytes of a tensor up to which it is made, and of an output up to which it is computed.
constexpr size_t kRunBytes = 1 << 16;

class Generator {
 public:
  explicit Generator(uint32_t seed) : engine_(seed) {}

  int64_t Below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  bool OneIn(int64_t n) { return Below(n) == 0; }

  int64_t Integer() { return OneIn(4) ? kHostile[Below(std::size(kHostile))] : Below(4) - (OneIn(4) ? 3 : 0); }
  I Integers(size_t count) {
    I values;
    for (size_t i = 0; i < count; ++i) values.push_back(Integer());
    return values;
  }
  size_t Count(size_t likely) { return OneIn(5) ? static_cast<size_t>(Below(9)) : likely; }

  float Float() {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    constexpr float kOdd[] = {0.0f,   -0.0f, kInfinity, -kInfinity,
                              1e-42f, 3e38f, -3e38f,    std::numeric_limits<float>::quiet_NaN()};
    if (OneIn(6)) return kOdd[Below(std::size(kOdd))];
    return static_cast<float>(Below(2001) - 1000) / 100.0f;
  }

  int64_t Extent() { return OneIn(40) ? kHostile[Below(std::size(kHostile))] : Below(5) + (OneIn(6) ? 0 : 1); }
  Shape AnyShape() {
    Shape shape(static_cast<size_t>(OneIn(2) ? 4 : Below(8)));
    for (int64_t& d : shape) d = Extent();
    return shape;
  }

  // A shape that a further input of an operator on `x` may have.
  Shape RelatedShape(const std::string& op, size_t input, const Shape& x) {
    if (OneIn(8) || x.empty()) return AnyShape();
    Shape shape = x;
    if (op == "Conv" && input == 1 && x.size() > 2) {
      shape[0] = Below(4);
      for (size_t i = 2; i < x.size(); ++i) shape[i] = 1 + Below(2);
      if (OneIn(3)) shape[1] = 1;
    } else if (op == "Gemm" && input == 1) {
      shape = {Below(5), x.back()};
    } else if (op == "MatMul") {
      if (x.size() > 1) std::swap(shape[x.size() - 1], shape[x.size() - 2]);
    } else if (op == "BatchNormalization" && x.size() > 1) {
      shape = {x[1]};
    } else if (op == "Pad" && input == 2) {
      shape = {};
    } else if (op == "Concat" || OneIn(2)) {
      shape[static_cast<size_t>(Below(static_cast<int64_t>(x.size())))] = op == "Concat" ? Below(4) : 1;
    }
    return shape;
  }

  std::string String(const std::string& attribute) {
    if (OneIn(6)) return OneIn(2) ? "" : "NOTHING";
    if (attribute == "to") return DTypeName(static_cast<DType>(Below(kNumDTypes)));
    if (attribute == "mode") {
      constexpr const char* kModes[] = {"constant", "reflect", "edge", "nearest", "linear", "cubic", "DCR", "CRD"};
      return kModes[Below(std::size(kModes))];
    }
    if (attribute == "coordinate_transformation_mode") return OneIn(2) ? "asymmetric" : "align_corners";
    if (attribute == "nearest_mode") return OneIn(2) ? "ceil" : "floor";
    if (attribute == "reduction") return OneIn(2) ? "add" : "max";
    if (attribute == "precision") return "float16";
    if (attribute == "activation") return OneIn(2) ? "Clip" : "Sigmoid";
    return OneIn(2) ? "SAME_UPPER" : OneIn(2) ? "VALID" : "NOTSET";
  }

  DType AnyType() { return static_cast<DType>(Below(kNumDTypes)); }
  // Mostly one of `types`, and of those mostly the first.
  DType Type(unsigned types) {
    if (OneIn(8)) return AnyType();
    for (int tries = 0; OneIn(3) && tries < 20; ++tries) {
      if (const DType dtype = AnyType(); (types & TypeBit(dtype)) != 0) return dtype;
    }
    int first = 0;
    while ((types & TypeBit(static_cast<DType>(first))) == 0) ++first;
    return static_cast<DType>(first);
  }

 private:
  std::mt19937 engine_;
};

// Whether the input is an int64 vector that inference reads.
bool IsKnownVector(const std::string& op, size_t input) {
  if (op == "Slice") return input > 0;
  if (op == "Resize") return input == 2;
  constexpr const char* kOps[] = {"Pad", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Tile", "TopK"};
  if (op.rfind("Reduce", 0) == 0) return input == 1;
  return input == 1 && std::find(std::begin(kOps), std::end(kOps), op) != std::end(kOps);
}

void AddInput(Generator* g, OpRunner* runner, DType dtype, const Shape& shape) {
  int64_t elements = 1;
  for (int64_t d : shape) elements = d >= 0 && d < 4096 && elements < 65536 ? elements * d : 65536;
  if (static_cast<size_t>(elements) * DTypeSize(dtype) > kRunBytes) {
    runner->Input(shape, dtype);
    return;
  }
  const size_t count = static_cast<size_t>(elements);
  if (dtype == DType::kFloat32) {
    std::vector<float> values(count);
    for (float& v : values) v = g->Float();
    runner->Values(dtype, shape, values, false);
  } else if (dtype == DType::kInt64) {
    runner->Values(dtype, shape, g->Integers(count), false);
  } else {
    std::vector<uint8_t> bytes(count * DTypeSize(dtype));
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(g->Below(256));
    runner->Values(dtype, shape, bytes, false);
  }
}

// Values of a known vector, mostly such that the operator takes them.
I KnownValues(Generator* g, const std::string& op, const Shape& x) {
  if (g->OneIn(3)) return g->Integers(g->Count(op == "Pad" ? 2 * x.size() : op == "Slice" ? 1 : x.size() / 2));
  I values;
  if (op == "TopK") return {g->Below(3)};
  if (op == "Expand" || op == "Tile" || op == "Resize") {
    for (int64_t d : x) values.push_back(op == "Expand" ? (d == 1 ? g->Below(4) : d) : g->Below(4));
    return values;
  }
  return g->Integers(op == "Pad" ? 2 * x.size() : op == "Slice" ? 1 : x.size() / 2);
}

// Inputs of operators that take others than `x` and more of its kind. False: nothing special about this one.
bool AddSpecialInput(Generator* g, OpRunner* runner, const std::string& op, size_t i, const Shape& x) {
  const auto extent = [&x](size_t d) { return d < x.size() ? x[d] : 1; };
  const auto zeros = [&](DType dtype, Shape shape) {
    g->OneIn(4) ? AddInput(g, runner, dtype, shape) : static_cast<void>(runner->Input(std::move(shape), dtype));
    return true;
  };
  const bool scatters = op == "ScatterElements" || op == "ScatterND";
  if (g->OneIn(10)) return false;
  if (op == "Range" || (op == "OneHot" && i == 1)) {
    runner->Values(DType::kFloat32, {}, std::vector<float>{op == "Range" && i == 2 ? 1.0f : g->Below(6) * 1.0f});
    return true;
  }
  if (op == "OneHot" && i == 2) return zeros(DType::kFloat32, {2});
  if (op == "CumSum" && i == 1) return zeros(DType::kInt64, {});
  if (op == "Trilu" && i == 1) return zeros(DType::kInt64, {});
  if (op == "ReverseSequence" && i == 1) return zeros(DType::kInt64, {extent(1)});
  if ((op == "GatherElements" || op == "ScatterElements") && i > 0) {
    return zeros(i == 1 ? DType::kInt64 : DType::kFloat32, x);
  }
  if (op == "GatherND" && i == 1) return zeros(DType::kInt64, {2, g->Below(3)});
  if (scatters && i == 1) return zeros(DType::kInt64, {2, 1});
  if (scatters && i == 2) {
    Shape shape = x;
    if (!shape.empty()) shape[0] = 2;
    return zeros(DType::kFloat32, shape);
  }
  if (op == "Resize" && i == 1) {
    runner->Absent();
    return true;
  }
  if ((op == "QuantizeLinear" || op == "DequantizeLinear") && i > 0) {
    AddInput(g, runner, i == 1 ? DType::kFloat32 : DType::kUint8, {});
    return true;
  }
  if (op == "LayerNormalization" && i > 0) return zeros(DType::kFloat32, {x.empty() ? 1 : x.back()});
  if ((op == "InstanceNormalization" || op == "GroupNormalization") && i > 0)
    return zeros(DType::kFloat32, {extent(1)});
  if (op == "Where" && i > 0) {
    AddInput(g, runner, DType::kInt64, g->RelatedShape(op, i, x));
    return true;
  }
  const int64_t gates = op == "LSTM" ? 4 : op == "GRU" ? 3 : op == "RNN" ? 1 : 0;
  if (gates == 0) return false;
  const Shape shapes[] = {{2, 3, gates * 2}, {gates * 2, 2}, {3}, {3, 2}, op == "LSTM" ? Shape{3, 2} : Shape{2}, {6}};
  return zeros(i == 2 ? DType::kInt32 : DType::kFloat32, shapes[i]);
}

I SplitSizes(Generator* g, int outputs, const Shape& x) {
  if (g->OneIn(4)) return g->Integers(g->Count(static_cast<size_t>(outputs)));
  I sizes(static_cast<size_t>(outputs), 0);
  if (!sizes.empty() && !x.empty()) sizes[0] = x[0];
  return sizes;
}

OpRunner AnyNode(Generator* g, const OpDef& def) {
  const std::string op = def.name;
  const int outputs = def.max_outputs < 0 ? static_cast<int>(g->Below(4))
                      : g->OneIn(30)
                          ? def.max_outputs + 1
                          : def.min_outputs + static_cast<int>(g->Below(def.max_outputs - def.min_outputs + 1));
  OpRunner runner(op, outputs);
  int inputs = def.max_inputs < 0 ? 1 + static_cast<int>(g->Below(4))
                                  : def.min_inputs + static_cast<int>(g->Below(def.max_inputs - def.min_inputs + 1));
  if (g->OneIn(30)) inputs = static_cast<int>(g->Below(7));
  Shape x = g->AnyShape();
  const DType dtype = g->Type(def.types);
  for (size_t i = 0; i < static_cast<size_t>(inputs); ++i) {
    if (IsKnownVector(op, i) && !g->OneIn(30)) {
      if (i > 2 && g->OneIn(4)) {
        runner.Absent();
      } else {
        runner.Ints(KnownValues(g, op, x));
      }
    } else if (op == "Split" && i == 1) {
      runner.Ints(SplitSizes(g, outputs, x));
    } else if (i >= static_cast<size_t>(def.min_inputs) && i >= 2 && g->OneIn(3)) {
      runner.Absent();
    } else if (AddSpecialInput(g, &runner, op, i, x)) {
    } else if (op == "Gather" && i == 1) {
      AddInput(g, &runner, g->OneIn(2) ? DType::kInt64 : DType::kInt32, Shape(static_cast<size_t>(g->Below(3)), 1));
    } else {
      AddInput(g, &runner, g->OneIn(30) ? g->AnyType() : dtype, i == 0 ? x : g->RelatedShape(op, i, x));
    }
  }
  std::istringstream spec(def.attributes);
  for (std::string entry; spec >> entry;) {
    const std::string name = entry.substr(0, entry.find(':'));
    const std::string kind = entry.substr(entry.find(':') + 1);
    const size_t spatial = x.size() > 2 ? x.size() - 2 : 0;
    if (g->OneIn(2) && name != "kernel_shape" && name != "split" && name != "axis" && name != "to") continue;
    if (name == "split" && inputs > 1 && !g->OneIn(10)) continue;
    if (g->OneIn(40)) {
      runner.Attr(name, "odd");
    } else if (kind == "string") {
      runner.Attr(name, g->String(name).c_str());
    } else if (kind == "float" || kind == "floats") {
      std::vector<float> values(kind == "float" ? 1 : g->Count(static_cast<size_t>(g->Below(3))));
      for (float& v : values) v = g->Float();
      runner.Attr(name, values);
    } else if (kind == "flag") {
      runner.Attr(name, I{g->OneIn(20) ? g->Integer() : g->Below(2)});
    } else if (name == "split") {
      runner.Attr(name, SplitSizes(g, outputs, x));
    } else if (name == "axis" && g->OneIn(2)) {
      runner.Attr(name, I{0});
    } else if (name == "perm") {
      I perm = g->Integers(x.size());
      if (g->OneIn(2)) {
        for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>((i + 1) % perm.size());
      }
      runner.Attr(name, perm);
    } else {
      const size_t likely = kind == "int" ? 1 : name == "pads" ? 2 * spatial : spatial;
      I values = g->Integers(kind == "int" && !g->OneIn(20) ? 1 : g->Count(likely));
      if (!g->OneIn(4)) {
        for (int64_t& v : values) v = name == "pads" ? g->Below(2) : 1 + g->Below(2);
      }
      runner.Attr(name, values);
    }
  }
  return runner;
}

TEST(EveryOperator, RefusesOrRunsWithoutAllocating) {
  constexpr int kCases = 3000;
  const std::unique_ptr<ThreadPool> pool = std::move(*ThreadPool::Create(2));
  const std::string documented[] = {ErrorCodeString(ErrorId::kBadAttribute), ErrorCodeString(ErrorId::kBadNodeInputs),
                                    ErrorCodeString(ErrorId::kBadShape)};
  for (const OpDef* def : AllOps()) {
    int ran = 0, refused = 0;
    for (uint32_t seed = 0; seed < kCases; ++seed) {
      SCOPED_TRACE(std::string(def->name) + ", seed " + std::to_string(seed));
      Generator generator(seed);
      OpRunner runner = AnyNode(&generator, *def);
      absl::Status status = runner.Infer();
      if (!status.ok()) {
        ++refused;
        const std::string code = GetErrorInfo(status).code;
        EXPECT_TRUE(code == documented[0] || code == documented[1] || code == documented[2]) << status;
        continue;
      }
      bool small = runner.input_bytes() <= kRunBytes;
      for (const TensorType& type : runner.types()) {
        EXPECT_LE(type.shape.size(), static_cast<size_t>(kMaxRank));
        small = small && type.bytes() <= kRunBytes;
      }
      if (!small) continue;
      runner.Prepare(nullptr);
      const int before = allocations;
      status = runner.Evaluate();
      const int after = allocations;
      if (!status.ok()) {
        EXPECT_EQ(GetErrorInfo(status).code, documented[1]) << status;
        continue;
      }
      ++ran;
      EXPECT_EQ(after - before, 0);
      std::vector<std::vector<uint8_t>> alone;
      for (size_t i = 0; i < runner.types().size(); ++i) alone.push_back(runner.Output<uint8_t>(i));
      runner.Prepare(pool.get());
      ASSERT_TRUE(runner.Evaluate().ok());
      for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(runner.Output<uint8_t>(i), alone[i]);
      if (HasFailure()) return;
    }
    // The generator must reach both ends, or the test shows nothing.
    EXPECT_GT(ran, kCases / 50) << def->name;
    EXPECT_GT(refused, kCases / 50) << def->name;
  }
}

}  // namespace
}  // namespace tally
