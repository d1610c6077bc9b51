// Data movement against definitions written index by index, over random shapes, types and pools.
#include "runtime/ops/movement.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <numeric>

#include "tests/ops/op_runner.h"

namespace tally {
namespace {

using testing::OpRunner;
using I = std::vector<int64_t>;

ThreadPool* Pool() {
  static std::unique_ptr<ThreadPool> pool = std::move(*ThreadPool::Create(3));
  return pool.get();
}

// A tensor of int64, int32 or uint8 elements; the tests compare element numbers, which int32 holds.
struct Sample {
  DType dtype;
  Shape shape;
  std::vector<int64_t> elements;

  int64_t at(const I& index) const {
    int64_t flat = 0;
    for (size_t i = 0; i < shape.size(); ++i) flat = flat * shape[i] + index[i];
    return elements[static_cast<size_t>(flat)];
  }
};

template <typename T, typename From>
std::vector<T> As(const std::vector<From>& v) {
  return std::vector<T>(v.begin(), v.end());
}

void AddInput(OpRunner* runner, const Sample& s) {
  switch (s.dtype) {
    case DType::kInt64: runner->Values(s.dtype, s.shape, s.elements, false); break;
    case DType::kInt32: runner->Values(s.dtype, s.shape, As<int32_t>(s.elements), false); break;
    default: runner->Values(s.dtype, s.shape, As<uint8_t>(s.elements), false); break;
  }
}

Sample OutputOf(const OpRunner& runner, size_t i = 0) {
  Sample s{runner.types()[i].dtype, runner.shape(i), {}};
  switch (s.dtype) {
    case DType::kInt64: s.elements = runner.Output<int64_t>(i); break;
    case DType::kInt32: s.elements = As<int64_t>(runner.Output<int32_t>(i)); break;
    default: s.elements = As<int64_t>(runner.Output<uint8_t>(i)); break;
  }
  return s;
}

Sample AnySample(size_t min_rank) {
  Sample s;
  s.dtype = *rc::gen::element(DType::kInt64, DType::kInt32, DType::kUint8);
  const size_t rank = *rc::gen::inRange<size_t>(min_rank, kMaxRank + 1);
  // One extent is longer now and then, so that blocks, bands and tasks have whole and partial ones.
  const size_t large = *rc::gen::inRange<size_t>(0, kMaxRank);
  for (size_t i = 0; i < rank; ++i)
    s.shape.push_back(*rc::gen::inRange<int64_t>(i == large ? 10 : 0, i == large ? 60 : 5));
  s.elements.resize(static_cast<size_t>(ElementsOf(s.shape)));
  std::iota(s.elements.begin(), s.elements.end(), 1);
  if (s.dtype == DType::kUint8) {
    for (int64_t& e : s.elements) e = e * 37 % 251;
  }
  return s;
}

// The output as a function of its index.
Sample Define(DType dtype, const Shape& shape, const std::function<int64_t(const I&)>& value) {
  Sample s{dtype, shape, {}};
  I index(shape.size(), 0);
  for (int64_t n = ElementsOf(shape); n > 0; --n) {
    s.elements.push_back(value(index));
    for (size_t i = shape.size(); i-- > 0;) {
      if (++index[i] < shape[i]) break;
      index[i] = 0;
    }
  }
  return s;
}

// Runs without a pool and with one.
void ExpectOutput(OpRunner* runner, const Sample& expected) {
  for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), Pool()}) {
    const absl::Status status = runner->Run(pool);
    if (!status.ok()) RC_FAIL(std::string(status.message()));
    const Sample actual = OutputOf(*runner);
    RC_ASSERT(actual.shape == expected.shape);
    RC_ASSERT(actual.elements == expected.elements);
  }
}

RC_GTEST_PROP(Transpose, FollowsItsDefinition, ()) {
  const Sample x = AnySample(0);
  std::vector<int64_t> perm(x.shape.size());
  std::iota(perm.begin(), perm.end(), 0);
  for (size_t i = perm.size(); i > 1; --i) std::swap(perm[i - 1], perm[*rc::gen::inRange<size_t>(0, i)]);
  OpRunner runner("Transpose");
  AddInput(&runner, x);
  if (*rc::gen::arbitrary<bool>()) {
    std::iota(perm.rbegin(), perm.rend(), 0);
  } else {
    runner.Attr("perm", perm);
  }
  Shape out;
  for (int64_t p : perm) out.push_back(x.shape[static_cast<size_t>(p)]);
  ExpectOutput(&runner, Define(x.dtype, out, [&](const I& o) {
    I index(o.size());
    for (size_t i = 0; i < o.size(); ++i) index[static_cast<size_t>(perm[i])] = o[i];
    return x.at(index);
  }));
}

// Whole and partial blocks of 16 and tiles of 4, which random shapes rarely have on both sides.
TEST(Transpose, HasNoSeamsBetweenBlocks) {
  for (DType dtype : {DType::kInt64, DType::kInt32, DType::kUint8}) {
    for (int64_t rows : {15, 16, 17, 20, 32, 49}) {
      for (int64_t columns : {15, 16, 17, 20, 32, 49}) {
        Sample x{dtype, {2, rows, columns}, std::vector<int64_t>(static_cast<size_t>(2 * rows * columns))};
        for (size_t i = 0; i < x.elements.size(); ++i) {
          x.elements[i] = static_cast<int64_t>(dtype == DType::kUint8 ? i * 37 % 251 : i);
        }
        const Sample expected = Define(dtype, {2, columns, rows}, [&](const I& o) { return x.at({o[0], o[2], o[1]}); });
        OpRunner runner("Transpose");
        AddInput(&runner, x);
        runner.Attr("perm", I{0, 2, 1});
        ASSERT_TRUE(runner.Run(Pool()).ok());
        ASSERT_EQ(OutputOf(runner).elements, expected.elements) << DTypeName(dtype) << " " << rows << "x" << columns;
      }
    }
  }
}

RC_GTEST_PROP(Slice, TakesTheElementsOfALoop, ()) {
  const Sample x = AnySample(1);
  I starts, ends, axes, steps;
  std::vector<I> taken(x.shape.size());
  for (size_t i = 0; i < x.shape.size(); ++i) {
    const int64_t d = x.shape[i];
    for (int64_t j = 0; j < d; ++j) taken[i].push_back(j);
    if (*rc::gen::arbitrary<bool>()) continue;
    axes.push_back(static_cast<int64_t>(i) - (*rc::gen::arbitrary<bool>() ? static_cast<int64_t>(x.shape.size()) : 0));
    starts.push_back(*rc::gen::inRange<int64_t>(-d - 2, d + 3));
    ends.push_back(*rc::gen::inRange<int64_t>(-d - 2, d + 3));
    steps.push_back(*rc::gen::element<int64_t>(-4, -3, -2, -1, 1, 2, 3, 4));
    // ONNX's rule, written as a loop over every index. Unlike Python's, a start before the front of a backward slice
    // still takes the front element.
    taken[i].clear();
    const int64_t step = steps.back();
    int64_t start = starts.back() < 0 ? starts.back() + d : starts.back();
    const int64_t end = ends.back() < 0 ? std::max<int64_t>(ends.back() + d, -1) : ends.back();
    start = std::max<int64_t>(step > 0 ? start : std::min(start, d - 1), 0);
    for (int64_t j = start; step > 0 ? j < std::min(end, d) : j > end; j += step) {
      if (j >= 0 && j < d) taken[i].push_back(j);
    }
  }
  OpRunner runner("Slice");
  AddInput(&runner, x);
  runner.Ints(starts).Ints(ends).Ints(axes).Ints(steps);
  Shape out;
  for (const I& t : taken) out.push_back(static_cast<int64_t>(t.size()));
  ExpectOutput(&runner, Define(x.dtype, out, [&](const I& o) {
    I index(o.size());
    for (size_t i = 0; i < o.size(); ++i) index[i] = taken[i][static_cast<size_t>(o[i])];
    return x.at(index);
  }));
}

RC_GTEST_PROP(Pad, FollowsItsDefinition, ()) {
  Sample x = AnySample(0);
  const std::string mode = *rc::gen::element<std::string>("constant", "reflect", "edge");
  const size_t rank = x.shape.size();
  I pads(2 * rank, 0);
  Shape out = x.shape;
  for (size_t i = 0; i < rank; ++i) {
    if (*rc::gen::arbitrary<bool>()) continue;
    const int64_t crop_begin = *rc::gen::inRange<int64_t>(0, std::min<int64_t>(2, x.shape[i]) + 1);
    const int64_t crop_end = *rc::gen::inRange<int64_t>(0, std::min<int64_t>(2, x.shape[i] - crop_begin) + 1);
    const int64_t kept = x.shape[i] - crop_begin - crop_end;
    const int64_t limit = mode == "constant" ? 5 : mode == "edge" ? (kept > 0 ? 5 : 1) : std::max<int64_t>(kept, 1);
    pads[i] = crop_begin > 0 ? -crop_begin : *rc::gen::inRange<int64_t>(0, limit);
    pads[rank + i] = crop_end > 0 ? -crop_end : *rc::gen::inRange<int64_t>(0, limit);
    out[i] += pads[i] + pads[rank + i];
  }
  if (ElementsOf(out) > 200000) RC_DISCARD("slow");
  OpRunner runner("Pad");
  AddInput(&runner, x);
  runner.Ints(pads);
  int64_t value = 0;
  if (*rc::gen::arbitrary<bool>()) {
    value = *rc::gen::inRange<int64_t>(0, 200);
    AddInput(&runner, {x.dtype, {}, {value}});
  }
  if (mode != "constant" || *rc::gen::arbitrary<bool>()) runner.Attr("mode", mode.c_str());
  ExpectOutput(&runner, Define(x.dtype, out, [&](I o) {
    for (size_t i = 0; i < rank; ++i) {
      const int64_t first = std::max<int64_t>(0, -pads[i]);
      const int64_t last = x.shape[i] - 1 - std::max<int64_t>(0, -pads[rank + i]);
      o[i] -= pads[i];
      if (mode == "constant" && (o[i] < first || o[i] > last)) return value;
      if (mode == "edge") o[i] = std::min(std::max(o[i], first), last);
      if (mode == "reflect" && o[i] < first) o[i] = 2 * first - o[i];
      if (mode == "reflect" && o[i] > last) o[i] = 2 * last - o[i];
    }
    return x.at(o);
  }));
}

RC_GTEST_PROP(SplitThenConcat, GivesTheTensorBack, ()) {
  const Sample x = AnySample(1);
  const size_t axis = *rc::gen::inRange<size_t>(0, x.shape.size());
  I sizes;
  int64_t left = x.shape[axis];
  const int parts = *rc::gen::inRange(1, 5);
  for (int i = 1; i < parts; ++i) {
    sizes.push_back(*rc::gen::inRange<int64_t>(0, left + 1));
    left -= sizes.back();
  }
  sizes.push_back(left);
  const int64_t signed_axis =
      static_cast<int64_t>(axis) - (*rc::gen::arbitrary<bool>() ? static_cast<int64_t>(x.shape.size()) : 0);
  for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), Pool()}) {
    OpRunner split("Split", parts);
    AddInput(&split, x);
    split.Attr("axis", I{signed_axis}).Attr("split", sizes);
    RC_ASSERT(split.Run(pool).ok());
    OpRunner concat("Concat");
    concat.Attr("axis", I{signed_axis});
    int64_t before = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const Sample part = OutputOf(split, i);
      Shape shape = x.shape;
      shape[axis] = sizes[i];
      RC_ASSERT(part.shape == shape);
      RC_ASSERT(part.elements == Define(x.dtype, shape, [&](I o) {
                                   o[axis] += before;
                                   return x.at(o);
                                 }).elements);
      before += sizes[i];
      AddInput(&concat, part);
    }
    ExpectOutput(&concat, x);
  }
}

RC_GTEST_PROP(Gather, PicksByIndex, ()) {
  Sample x = AnySample(1);
  if (x.shape.size() > 4) RC_DISCARD("rank of the output");
  const size_t axis = *rc::gen::inRange<size_t>(0, x.shape.size());
  const int64_t extent = x.shape[axis];
  Shape shape;
  for (int n = *rc::gen::inRange(0, 3); n > 0; --n) shape.push_back(*rc::gen::inRange<int64_t>(extent == 0 ? 0 : 1, 5));
  if (extent == 0) shape = {0};
  Sample indices{*rc::gen::element(DType::kInt64, DType::kInt32), shape, {}};
  for (int64_t n = ElementsOf(shape); n > 0; --n) {
    indices.elements.push_back(*rc::gen::inRange<int64_t>(-extent, extent));
  }
  OpRunner runner("Gather");
  AddInput(&runner, x);
  AddInput(&runner, indices);
  runner.Attr("axis", I{static_cast<int64_t>(axis)});
  Shape out(x.shape.begin(), x.shape.begin() + static_cast<std::ptrdiff_t>(axis));
  out.insert(out.end(), shape.begin(), shape.end());
  out.insert(out.end(), x.shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.shape.end());
  ExpectOutput(&runner, Define(x.dtype, out, [&](const I& o) {
    const auto middle = o.begin() + static_cast<std::ptrdiff_t>(axis);
    const auto tail = middle + static_cast<std::ptrdiff_t>(shape.size());
    const int64_t j = indices.at(I(middle, tail));
    I index(o.begin(), middle);
    index.push_back(j < 0 ? j + extent : j);
    index.insert(index.end(), tail, o.end());
    return x.at(index);
  }));
}

TEST(Gather, NamesTheIndexOutOfRange) {
  for (int64_t index : {int64_t{3}, int64_t{-4}, std::numeric_limits<int64_t>::min()}) {
    OpRunner runner("Gather");
    runner.Floats({3}, {1, 2, 3}).Values<int64_t>(DType::kInt64, {2}, {0, index}, false);
    const absl::Status status = runner.Run();
    EXPECT_EQ(std::string(status.message()),
              "TLY-E0316: Gather: indices[1] is " + std::to_string(index) + ", expected -3 .. 2");
  }
  OpRunner empty("Gather");
  empty.Input({0, 4}).Values<int32_t>(DType::kInt32, {1}, {0}, false);
  EXPECT_FALSE(empty.Run().ok());
}

// Large enough for many tasks per operator; the sums of the random tests are not.
TEST(Movement, GivesTheSameBytesWithAPool) {
  const auto big = [](Shape shape) {
    Sample s{DType::kInt32, shape, std::vector<int64_t>(static_cast<size_t>(ElementsOf(shape)))};
    std::iota(s.elements.begin(), s.elements.end(), 0);
    return s;
  };
  std::vector<OpRunner> runners;
  const auto add = [&](const char* op, const Sample& s) -> OpRunner& {
    runners.emplace_back(op);
    AddInput(&runners.back(), s);
    return runners.back();
  };
  add("Transpose", big({500, 300}));
  add("Transpose", big({4, 64, 32, 33})).Attr("perm", I{0, 2, 3, 1});
  add("Transpose", big({4, 50, 12, 65})).Attr("perm", I{0, 2, 1, 3});
  add("Slice", big({3, 400, 200})).Ints({350, 199}).Ints({-999, 0}).Ints({1, 2}).Ints({-2, -3});
  add("Pad", big({3, 200, 200})).Ints({0, 5, 6, 0, 7, 8}).Attr("mode", "reflect");
  add("Identity", big({100001}));
  add("Cast", big({100001})).Attr("to", "float32");
  AddInput(&add("Concat", big({2, 50000})).Attr("axis", I{1}), big({2, 30001}));
  AddInput(&add("Gather", big({1000, 100})), Sample{DType::kInt64, {4}, {999, -1, 0, 5}});
  for (OpRunner& runner : runners) {
    SCOPED_TRACE(runner.node().op);
    ASSERT_TRUE(runner.Run().ok());
    const std::vector<int32_t> alone = runner.Output<int32_t>();
    ASSERT_TRUE(runner.Run(Pool()).ok());
    EXPECT_EQ(runner.Output<int32_t>(), alone);
  }
}

TEST(Views, KeepTheBytes) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  std::vector<OpRunner> runners;
  runners.push_back(OpRunner("Reshape").Floats({1, 6}, values).Ints({3, -1}));
  runners.push_back(OpRunner("Flatten").Floats({1, 6}, values));
  runners.push_back(OpRunner("Squeeze").Floats({1, 6}, values));
  runners.push_back(OpRunner("Unsqueeze").Floats({1, 6}, values).Ints({0}));
  runners.push_back(OpRunner("Identity").Floats({1, 6}, values));
  for (OpRunner& runner : runners) {
    SCOPED_TRACE(runner.node().op);
    EXPECT_TRUE(FindOp(runner.node().op)->is_view);
    ASSERT_TRUE(runner.Run().ok());
    EXPECT_EQ(runner.Output<float>(), values);
  }
}

TEST(Shape, GivesExtents) {
  OpRunner runner = OpRunner("Shape").Input({5, 6, 7}).Attr("start", I{-2});
  ASSERT_TRUE(runner.Run().ok());
  EXPECT_EQ(runner.Output<int64_t>(), (I{6, 7}));
}

// A weight may come as codes alone, whose bytes no shared operator can move.
TEST(Movement, RefusesAConstantWithoutPlainForm) {
  Node node;
  node.op = "Identity";
  EvalContext context{node, {}, {}};
  float out[2];
  context.inputs.push_back({nullptr, DType::kFloat32, {2}});
  context.outputs.push_back({out, DType::kFloat32, {2}});
  EXPECT_EQ(FindOp("Identity")->eval(context).code(), absl::StatusCode::kFailedPrecondition);
}

// The planned shape came from other values; writing would run past the buffer.
TEST(Movement, RefusesValuesThatWereNotPlanned) {
  Node node;
  node.op = "Slice";
  const float x[4] = {1, 2, 3, 4};
  const int64_t start = 0, end = 4;
  float out[2] = {};
  EvalContext context{node, {}, {}};
  context.inputs.push_back({x, DType::kFloat32, {4}});
  context.inputs.push_back({&start, DType::kInt64, {1}});
  context.inputs.push_back({&end, DType::kInt64, {1}});
  context.outputs.push_back({out, DType::kFloat32, {2}});
  EXPECT_EQ(FindOp("Slice")->eval(context).code(), absl::StatusCode::kInvalidArgument);
}

template <typename From, typename To>
std::vector<To> Cast(DType from, const char* to, const std::vector<From>& values) {
  OpRunner runner("Cast");
  runner.Values(from, {static_cast<int64_t>(values.size())}, values, false).Attr("to", to);
  EXPECT_TRUE(runner.Run().ok());
  return runner.Output<To>();
}

TEST(Cast, TruncatesAndSaturatesFloats) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {0.9f, -0.9f, -1.9f, 127.5f, 300.f, -300.f, 3e9f, -3e9f, 1e19f, -1e19f, inf, -inf, nan};
  constexpr int64_t kLow = std::numeric_limits<int64_t>::min();
  constexpr int64_t kHigh = std::numeric_limits<int64_t>::max();
  EXPECT_EQ((Cast<float, int64_t>(DType::kFloat32, "int64", x)),
            (std::vector<int64_t>{0, 0, -1, 127, 300, -300, 3000000000, -3000000000, kHigh, kLow, kHigh, kLow, 0}));
  constexpr int32_t kLow32 = std::numeric_limits<int32_t>::min();
  constexpr int32_t kHigh32 = std::numeric_limits<int32_t>::max();
  EXPECT_EQ((Cast<float, int32_t>(DType::kFloat32, "int32", x)),
            (std::vector<int32_t>{0, 0, -1, 127, 300, -300, kHigh32, kLow32, kHigh32, kLow32, kHigh32, kLow32, 0}));
  EXPECT_EQ((Cast<float, uint8_t>(DType::kFloat32, "uint8", x)),
            (std::vector<uint8_t>{0, 0, 0, 127, 255, 0, 255, 0, 255, 0, 255, 0, 0}));
  EXPECT_EQ((Cast<float, int8_t>(DType::kFloat32, "int8", x)),
            (std::vector<int8_t>{0, 0, -1, 127, 127, -128, 127, -128, 127, -128, 127, -128, 0}));
  EXPECT_EQ((Cast<float, int32_t>(DType::kFloat32, "int32", {2147483520.f, 2147483648.f, -2147483648.f})),
            (std::vector<int32_t>{2147483520, kHigh32, kLow32}));
}

TEST(Cast, KeepsLowBitsOfIntegersAndNormalisesBools) {
  EXPECT_EQ((Cast<int64_t, int32_t>(DType::kInt64, "int32", {-1, (int64_t{1} << 32) + 5})),
            (std::vector<int32_t>{-1, 5}));
  EXPECT_EQ((Cast<int32_t, uint8_t>(DType::kInt32, "uint8", {-1, 257})), (std::vector<uint8_t>{255, 1}));
  EXPECT_EQ((Cast<int64_t, float>(DType::kInt64, "float32", {-3, 16777217})), (std::vector<float>{-3.f, 16777216.f}));
  EXPECT_EQ((Cast<uint8_t, uint8_t>(DType::kBool, "bool", {0, 1, 2})), (std::vector<uint8_t>{0, 1, 1}));
  EXPECT_EQ((Cast<uint8_t, int64_t>(DType::kBool, "int64", {0, 255})), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ((Cast<int64_t, uint8_t>(DType::kInt64, "bool", {0, 256, -1})), (std::vector<uint8_t>{0, 1, 1}));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ((Cast<float, uint8_t>(DType::kFloat32, "bool", {0.f, -0.f, 0.25f, nan})),
            (std::vector<uint8_t>{0, 0, 1, 1}));
  EXPECT_EQ((Cast<float, float>(DType::kFloat32, "float32", {1.5f})), (std::vector<float>{1.5f}));
}

}  // namespace
}  // namespace tally
