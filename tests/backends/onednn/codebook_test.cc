// onednn-codebook against plain integer loops and the shared epilogue, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/onednn/onednn.h"
#include "runtime/ops/epilogue.h"
#include "tally/status.h"
#include "tests/backends/onednn/node_harness.h"

// Of oneDNN's OpenMP runtime.
extern "C" int omp_get_max_threads(void);

namespace tally {
namespace {

using testing::ConvCase;
using testing::ConvVarieties;
using testing::MakeCodeForm;
using testing::NodeModel;
using testing::SlicedConvs;

struct Operand {
  Codebook codebook;
  std::vector<uint8_t> codes;
  std::vector<int32_t> mantissas;  // of every code

  int64_t at(size_t i) const { return mantissas[codes[i]]; }
};

enum class Fill { kRandom, kLargest };

class Generator {
 public:
  explicit Generator(uint32_t seed) : rng_(seed) {}

  int64_t Pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(rng_); }
  bool Flip() { return Pick(0, 1) == 1; }

  Codebook MakeBook(Grid grid, bool is_signed) {
    const double base = 1.05 + 0.001 * static_cast<double>(Pick(0, 700));
    absl::StatusOr<Codebook> book = MakeCodebook(static_cast<int>(Pick(kMinExponentBits, kMaxExponentBits)), is_signed,
                                                 grid, EncodeRule::kNearest, base, 0.01, 0.001);
    EXPECT_TRUE(book.ok()) << book.status();
    return *book;
  }

  Operand MakeOperand(Grid grid, bool is_signed, size_t count, Fill fill = Fill::kRandom) {
    Operand operand{MakeBook(grid, is_signed), std::vector<uint8_t>(count), {}};
    operand.mantissas = operand.codebook.SignedMantissas();
    const unsigned largest = (1u << operand.codebook.exponent_bits) - 1;
    for (uint8_t& code : operand.codes) {
      unsigned candidate = fill == Fill::kLargest ? largest : 0;
      if (fill == Fill::kRandom) {
        do {
          candidate = static_cast<unsigned>(Pick(0, operand.codebook.code_count() - 1));
        } while (!operand.codebook.is_valid_code(candidate));
      }
      code = static_cast<uint8_t>(candidate);
    }
    return operand;
  }

  std::vector<float> Floats(size_t count, float low, float high) {
    std::vector<float> values(count);
    std::uniform_real_distribution<float> distribution(low, high);
    for (float& v : values) v = distribution(rng_);
    return values;
  }

 private:
  std::mt19937 rng_;
};

// A Conv or Gemm with its operands; the rest of the node is drawn at random.
struct DotCase {
  Operand x, w;
  Shape input, weight, output;
  std::vector<float> channel_scales, bias, residual;
  std::string activation;
  std::vector<float> activation_params;

  DotCase(Generator* g, Operand x_operand, Operand w_operand, const Shape& in, const Shape& weight_shape,
          const Shape& out)
      : x(std::move(x_operand)), w(std::move(w_operand)), input(in), weight(weight_shape), output(out) {
    const size_t channels = static_cast<size_t>(weight[0]);
    size_t outputs = 1;
    for (int64_t d : output) outputs *= static_cast<size_t>(d);
    if (g->Flip()) channel_scales = g->Floats(channels, 0.1f, 3.0f);
    if (g->Flip()) bias = g->Floats(channels, -5.0f, 5.0f);
    if (g->Flip()) residual = g->Floats(outputs, -5.0f, 5.0f);
    switch (g->Pick(0, 3)) {
      case 0: activation = "Relu"; break;
      case 1: activation = "Clip", activation_params = {0.0f, 6.0f}; break;
      case 2: activation = "HardSwish"; break;
      default: break;
    }
  }

  NodeModel Model(const std::string& op) const {
    NodeModel model(op);
    model.AddEncoded("x", input, x.codes).codebook = x.codebook;
    model.AddConstant("w", weight).codes = MakeCodeForm(w.codebook, w.codes, channel_scales);
    bias.empty() ? model.Absent() : (void)model.AddFloats("b", {weight[0]}, bias);
    residual.empty() ? model.Absent() : (void)model.AddActivation("r", output, residual);
    if (!activation.empty()) model.node.SetString("activation", activation);
    if (!activation_params.empty()) model.node.SetFloats("activation_params", activation_params);
    model.SetOutput(output);
    return model;
  }

  // `channel_of`: the output channel of an output element.
  template <typename ChannelOf>
  std::vector<float> Expected(const std::vector<int64_t>& sums, const ChannelOf& channel_of) const {
    const Node node = Model("Conv").node;
    std::vector<float> out(sums.size());
    for (size_t i = 0; i < sums.size(); ++i) {
      const size_t o = channel_of(i);
      const double scale = static_cast<double>(x.codebook.scale) * static_cast<double>(w.codebook.scale);
      const float channel_scale = channel_scales.empty() ? 1.0f : channel_scales[o];
      const float factor = static_cast<float>(scale * static_cast<double>(channel_scale));
      EpilogueRow row;
      row.scale = &factor;
      row.bias = bias.empty() ? nullptr : &bias[o];
      row.residual = residual.empty() ? nullptr : &residual[i];
      row.activation = *FusedActivation(node);
      FinishRow(&sums[i], 1, row, &out[i]);
    }
    return out;
  }
};

void ExpectSameBits(NodeModel model, const std::vector<float>& expected, const std::vector<int>& thread_counts) {
  const std::shared_ptr<const Backend> backend = MakeOneDnnCodebookBackend();
  for (int threads : thread_counts) {
    const absl::StatusOr<std::vector<float>> got = model.Run(*backend, threads);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(model.input_encodings[0], Encoding::kCodes);
    ASSERT_EQ(got->size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(std::memcmp(&(*got)[i], &expected[i], sizeof(float)), 0)
          << "element " << i << ": " << (*got)[i] << ", expected " << expected[i] << " (" << model.kernel << ", "
          << threads << " threads)";
    }
  }
}

void CheckConv(Generator* g, const ConvCase& c, Operand x, Operand w, const std::vector<int>& threads = {1, 2}) {
  const DotCase dot(g, std::move(x), std::move(w), c.input(), c.weight(), c.output());
  NodeModel model = dot.Model("Conv");
  c.SetAttributes(&model.node);
  const auto sums = c.Sum<int64_t>([&](size_t i, size_t j) { return dot.x.at(i) * dot.w.at(j); });
  ExpectSameBits(std::move(model), dot.Expected(sums, [&](size_t i) { return c.ChannelOf(i); }), threads);
}

void CheckGemm(Generator* g, int64_t m, int64_t k, int64_t n, Operand x, Operand w,
               const std::vector<int>& threads = {1, 2}) {
  const Shape input = m % 2 == 0 ? Shape{2, m / 2, k} : Shape{m, k};
  const Shape output = m % 2 == 0 ? Shape{2, m / 2, n} : Shape{m, n};
  const DotCase dot(g, std::move(x), std::move(w), input, {n, k}, output);
  std::vector<int64_t> sums(static_cast<size_t>(m * n), 0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        sums[static_cast<size_t>(i * n + j)] +=
            dot.x.at(static_cast<size_t>(i * k + l)) * dot.w.at(static_cast<size_t>(j * k + l));
  ExpectSameBits(dot.Model("Gemm"), dot.Expected(sums, [&](size_t i) { return i % static_cast<size_t>(n); }), threads);
}

constexpr Grid kGrids[] = {Grid::kQ7, Grid::kQ14};

TEST(OneDnnCodebook, ConvEqualsIntegerArithmeticOverShapesAndGrids) {
  Generator g(1);
  int index = 0;
  for (const ConvCase& c : ConvVarieties()) {
    for (Grid xg : kGrids) {
      for (Grid wg : kGrids) {
        SCOPED_TRACE(absl::StrCat("case ", index, " x ", GridName(xg), " w ", GridName(wg)));
        CheckConv(&g, c, g.MakeOperand(xg, g.Flip(), c.inputs()), g.MakeOperand(wg, true, c.weights()));
      }
    }
    ++index;
  }
}

TEST(OneDnnCodebook, ConvEqualsIntegerArithmeticOnRandomShapes) {
  for (uint32_t seed = 100; seed < 140; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Generator g(seed);
    ConvCase c{g.Pick(1, 3),
               g.Pick(1, 3),
               g.Pick(1, 20),
               g.Pick(1, 20),
               g.Pick(4, 12),
               g.Pick(4, 20),
               g.Pick(1, 4),
               g.Pick(1, 4),
               g.Pick(1, 3),
               g.Pick(1, 3),
               1,
               1,
               g.Pick(0, 3),
               g.Pick(0, 3),
               g.Pick(0, 3),
               g.Pick(0, 3)};
    CheckConv(&g, c, g.MakeOperand(kGrids[g.Pick(0, 1)], g.Flip(), c.inputs()),
              g.MakeOperand(kGrids[g.Pick(0, 1)], g.Flip(), c.weights()));
  }
}

// Large enough that threads share a node: by images, rows (also where a band sees only padding) and channels.
TEST(OneDnnCodebook, ConvIsDividedAmongThreadsWithoutAChangedBit) {
  Generator g(150);
  int index = 0;
  for (const ConvCase& c : SlicedConvs()) {
    SCOPED_TRACE(absl::StrCat("case ", index++));
    CheckConv(&g, c, g.MakeOperand(Grid::kQ7, g.Flip(), c.inputs()), g.MakeOperand(Grid::kQ7, true, c.weights()),
              {1, 2, 3, 8});
  }
}

TEST(OneDnnCodebook, GemmIsDividedAmongThreadsWithoutAChangedBit) {
  Generator g(160);
  for (int64_t m : {1, 3, 300}) {
    for (int64_t n : {5, 200, 1000}) {
      const int64_t k = m == 300 ? 65 : 1100;
      SCOPED_TRACE(absl::StrCat("m ", m, " n ", n));
      CheckGemm(&g, m, k, n, g.MakeOperand(Grid::kQ14, g.Flip(), static_cast<size_t>(m * k)),
                g.MakeOperand(Grid::kQ7, true, static_cast<size_t>(n * k)), {1, 2, 3, 8});
    }
  }
}

TEST(OneDnnCodebook, GemmEqualsIntegerArithmeticOverTails) {
  uint32_t seed = 200;
  for (int64_t m : {1, 2, 3, 17}) {
    for (int64_t k : {1, 2, 3, 15, 16, 17, 63, 65, 576, 1041}) {
      Generator g(seed++);
      const int64_t n = g.Pick(1, 70);
      const Grid xg = kGrids[g.Pick(0, 1)], wg = kGrids[g.Pick(0, 1)];
      SCOPED_TRACE(absl::StrCat("m ", m, " k ", k, " n ", n, " x ", GridName(xg), " w ", GridName(wg)));
      CheckGemm(&g, m, k, n, g.MakeOperand(xg, g.Flip(), static_cast<size_t>(m * k)),
                g.MakeOperand(wg, g.Flip(), static_cast<size_t>(n * k)));
    }
  }
}

// 127 * 127 * k exceeds int32 from k = 133,145; every mantissa is the largest, so that a product that wrapped or passed
// through float32 would show.
TEST(OneDnnCodebook, SplitsDotProductsBeyondInt32) {
  Generator g(300);
  const int64_t k = 140001;
  for (Grid xg : kGrids) {
    for (Grid wg : kGrids) {
      SCOPED_TRACE(absl::StrCat("x ", GridName(xg), " w ", GridName(wg)));
      CheckGemm(&g, 2, k, 3, g.MakeOperand(xg, true, 2 * k, Fill::kLargest),
                g.MakeOperand(wg, true, 3 * k, Fill::kLargest));
    }
  }
  CheckGemm(&g, 1, k, 5, g.MakeOperand(Grid::kQ14, true, k), g.MakeOperand(Grid::kQ7, true, 5 * k));
}

// oneDNN's convolutions pass their sums through float32; 900 * 127 * 127 needs 24 bits, 9 * 300 * 127 * 127 needs 26.
TEST(OneDnnCodebook, SplitsInputChannelsBeyondFloat32) {
  Generator g(301);
  const ConvCase cases[] = {
      {1, 1, 300, 5, 6, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
      {1, 2, 301, 3, 5, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
      {1, 1, 2100, 9, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
      {1, 1, 1, 3, 40, 40, 32, 32, 1, 1, 1, 1, 0, 0, 0, 0},
  };
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(absl::StrCat("in_per_group ", c.in_per_group));
    CheckConv(&g, c, g.MakeOperand(Grid::kQ7, false, c.inputs(), Fill::kLargest),
              g.MakeOperand(Grid::kQ7, true, c.weights(), Fill::kLargest));
    CheckConv(&g, c, g.MakeOperand(Grid::kQ14, true, c.inputs(), Fill::kLargest),
              g.MakeOperand(Grid::kQ14, true, c.weights(), Fill::kLargest));
  }
}

struct MatMulCase {
  Shape a, b, out;
};

void CheckMatMul(Generator* g, const MatMulCase& c, Grid ag, Grid bg, Fill fill) {
  const auto count = [](const Shape& s) {
    size_t n = 1;
    for (int64_t d : s) n *= static_cast<size_t>(d);
    return n;
  };
  const Operand a = g->MakeOperand(ag, g->Flip(), count(c.a), fill);
  const Operand b = g->MakeOperand(bg, g->Flip(), count(c.b), fill);
  // Rank-1 operands are a row and a column; batch extents broadcast.
  const Shape as = c.a.size() == 1 ? Shape{1, c.a[0]} : c.a;
  const Shape bs = c.b.size() == 1 ? Shape{c.b[0], 1} : c.b;
  const int64_t m = as[as.size() - 2], k = as.back(), n = bs.back();
  const size_t rank = std::max(as.size(), bs.size());
  const auto batch_extent = [&](const Shape& s, size_t i) {  // i from the innermost batch extent outwards
    return i + 2 < s.size() ? s[s.size() - 3 - i] : 1;
  };
  int64_t matrices = 1;
  for (size_t i = 0; i + 2 < rank; ++i) matrices *= std::max(batch_extent(as, i), batch_extent(bs, i));
  std::vector<float> expected;
  const float scale = static_cast<float>(static_cast<double>(a.codebook.scale) * static_cast<double>(b.codebook.scale));
  for (int64_t t = 0; t < matrices; ++t) {
    int64_t rest = t, a_index = 0, b_index = 0, a_stride = 1, b_stride = 1;
    for (size_t i = 0; i + 2 < rank; ++i) {
      const int64_t ae = batch_extent(as, i), be = batch_extent(bs, i), e = std::max(ae, be);
      if (ae > 1) a_index += rest % e * a_stride;
      if (be > 1) b_index += rest % e * b_stride;
      rest /= e;
      a_stride *= ae;
      b_stride *= be;
    }
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        int64_t sum = 0;
        for (int64_t l = 0; l < k; ++l)
          sum += a.at(static_cast<size_t>((a_index * m + i) * k + l)) *
                 b.at(static_cast<size_t>((b_index * k + l) * n + j));
        EpilogueRow row;
        row.scale = &scale;
        expected.push_back(0);
        FinishRow(&sum, 1, row, &expected.back());
      }
  }
  NodeModel model("MatMul");
  model.AddEncoded("a", c.a, a.codes).codebook = a.codebook;
  model.AddEncoded("b", c.b, b.codes).codebook = b.codebook;
  model.SetOutput(c.out);
  ExpectSameBits(std::move(model), expected, {1, 2, 5});
}

TEST(OneDnnCodebook, MatMulEqualsIntegerArithmeticOverRanksAndGrids) {
  const MatMulCase cases[] = {
      {{3, 5}, {5, 7}, {3, 7}},
      {{5}, {5, 7}, {7}},
      {{3, 5}, {5}, {3}},
      {{5}, {5}, {}},
      {{2, 3, 33}, {2, 33, 17}, {2, 3, 17}},
      {{2, 1, 3, 8}, {1, 4, 8, 7}, {2, 4, 3, 7}},
      {{4, 9}, {3, 2, 9, 6}, {3, 2, 4, 6}},
      {{2, 3, 1, 65}, {65, 70}, {2, 3, 1, 70}},
      {{1, 98, 65}, {3, 65, 70}, {3, 98, 70}},
      {{3, 2, 1, 1, 4, 9}, {1, 2, 5, 1, 9, 6}, {3, 2, 5, 1, 4, 6}},
  };
  Generator g(400);
  for (const MatMulCase& c : cases) {
    for (Grid ag : kGrids) {
      for (Grid bg : kGrids) {
        SCOPED_TRACE(absl::StrCat(ShapeString(c.a), " * ", ShapeString(c.b), " ", GridName(ag), " ", GridName(bg)));
        CheckMatMul(&g, c, ag, bg, Fill::kRandom);
      }
    }
  }
}

TEST(OneDnnCodebook, MatMulSplitsLongDotProducts) {
  Generator g(401);
  for (Grid grid : kGrids) {
    CheckMatMul(&g, {{2, 3, 2500}, {2500, 5}, {2, 3, 5}}, grid, grid, Fill::kLargest);
    CheckMatMul(&g, {{1, 140001}, {140001, 2}, {1, 2}}, grid, grid, Fill::kLargest);
  }
}

TEST(OneDnnCodebook, EmptyBatchGivesEmptyOutput) {
  Generator g(500);
  ConvCase c{0, 1, 3, 4, 5, 5, 3, 3};
  CheckConv(&g, c, g.MakeOperand(Grid::kQ7, false, 0), g.MakeOperand(Grid::kQ7, true, c.weights()));
  CheckGemm(&g, 0, 5, 4, g.MakeOperand(Grid::kQ7, false, 0), g.MakeOperand(Grid::kQ7, true, 20));
}

TEST(OneDnnCodebook, RefusesWithTheReason) {
  const std::shared_ptr<const Backend> backend = MakeOneDnnCodebookBackend();
  Generator g(600);
  const auto reason = [&](const auto& change) {
    NodeModel model("Gemm");
    model.AddEncoded("x", {1, 4}, std::vector<uint8_t>(4)).codebook = g.MakeBook(Grid::kQ7, false);
    model.AddConstant("w", {2, 4}).codes = MakeCodeForm(g.MakeBook(Grid::kQ7, true), std::vector<uint8_t>(8), {});
    model.SetOutput({1, 2});
    change(&model);
    const absl::Status status = backend->Supports(model.Context(1));
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(ExitStatus(status), 6) << status;
    return std::string(status.message());
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(reason([](NodeModel* m) { m->graph.tensors[0].codebook.reset(); }),
              HasSubstr("input \"x\" has no codebook"));
  EXPECT_THAT(reason([](NodeModel* m) {
                m->graph.tensors[1].codes.reset();
                m->graph.tensors[1].has_data = true;
              }),
              HasSubstr("weight \"w\" has no codes"));
  EXPECT_THAT(reason([](NodeModel* m) {
                m->graph.tensors[0].codebook = *MakeCodebook(3, false, Grid::kReal, EncodeRule::kNearest, 1.5, 1, 0);
              }),
              HasSubstr("real grid"));
  EXPECT_THAT(reason([](NodeModel* m) { m->graph.tensors[0].has_data = true; }), HasSubstr("is a constant"));
  EXPECT_THAT(reason([](NodeModel* m) { m->node.op = "Softmax"; }), HasSubstr("Softmax"));
}

// A pad or extent that overflows oneDNN's 32-bit geometry must not reach it.
TEST(OneDnnCodebook, RefusesAbsurdGeometry) {
  Generator g(601);
  ConvCase c{1, 1, 1, 1, 4, 4, 1, 1};
  c.top = int64_t{1} << 30;
  c.stride_h = int64_t{1} << 30;
  NodeModel model("Conv");
  model.AddEncoded("x", c.input(), std::vector<uint8_t>(c.inputs())).codebook = g.MakeBook(Grid::kQ7, false);
  model.AddConstant("w", c.weight()).codes = MakeCodeForm(g.MakeBook(Grid::kQ7, true), std::vector<uint8_t>(1), {});
  model.SetOutput(c.output());
  c.SetAttributes(&model.node);
  const absl::Status status = MakeOneDnnCodebookBackend()->Supports(model.Context(1));
  EXPECT_NE(std::string(status.message()).find("1073741824 > 1048576"), std::string::npos) << status;
}

TEST(OneDnnCodebook, LeavesTheCallersOpenMpThreadCountAlone) {
  Generator g(700);
  const int before = omp_get_max_threads();
  CheckGemm(&g, 3, 20, 4, g.MakeOperand(Grid::kQ7, false, 60), g.MakeOperand(Grid::kQ7, true, 80));
  EXPECT_EQ(omp_get_max_threads(), before);
}

TEST(OneDnnCodebook, ReportsTheInstructionSetThatItUses) {
  NodeModel model("Gemm");
  Generator g(800);
  model.AddEncoded("x", {1, 64}, std::vector<uint8_t>(64)).codebook = g.MakeBook(Grid::kQ7, false);
  model.AddConstant("w", {16, 64}).codes = MakeCodeForm(g.MakeBook(Grid::kQ7, true), std::vector<uint8_t>(1024), {});
  model.SetOutput({1, 16});
  ASSERT_TRUE(model.Run(*MakeOneDnnCodebookBackend(), 1).ok());
  const char* cap = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (cap != nullptr && std::string(cap) == "AVX2") {
    EXPECT_EQ(model.isa, "avx2");
  } else {
    EXPECT_FALSE(model.isa.empty());
  }
  EXPECT_FALSE(model.kernel.empty());
}

}  // namespace
}  // namespace tally
