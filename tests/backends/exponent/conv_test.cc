// Convolutions of the exponent backend: every kernel gives the histogram's bits.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "runtime/ops/window.h"
#include "tests/backends/exponent/harness.h"

namespace tally::testing {
namespace {

struct ConvShape {
  int64_t batch = 1, channels = 1, height = 1, width = 1;  // height 0: one-dimensional
  int64_t outputs = 1, kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  int64_t group = 1;
  bool one_dimensional = false;
  std::string activation;

  std::string Name() const {
    return absl::StrCat(batch, "x", channels, "x", height, "x", width, " -> ", outputs, " kernel ", kernel_h, "x",
                        kernel_w, " stride ", stride_h, "x", stride_w, " dilation ", dilation_h, "x", dilation_w,
                        " pads ", top, ",", left, ",", bottom, ",", right, " group ", group,
                        one_dimensional ? " 1-D " : " ", activation);
  }
};

// False when the kernel does not fit the padded input.
bool ExpectConvMatches(Rng& rng, const ConvShape& s, const Codebook& a, const Codebook& w, Fill w_fill = Fill::kRandom,
                       bool bias = true, bool residual = false) {
  NodeCase c("Conv");
  Shape x = {s.batch, s.channels, s.height, s.width};
  Shape weight = {s.outputs, s.channels / s.group, s.kernel_h, s.kernel_w};
  std::vector<int64_t> strides = {s.stride_h, s.stride_w}, dilations = {s.dilation_h, s.dilation_w};
  std::vector<int64_t> pads = {s.top, s.left, s.bottom, s.right};
  if (s.one_dimensional) {
    x.erase(x.begin() + 2);
    weight.erase(weight.begin() + 2);
    strides = {s.stride_w};
    dilations = {s.dilation_w};
    pads = {s.left, s.right};
  }
  c.node().SetInts("strides", strides);
  c.node().SetInts("dilations", dilations);
  c.node().SetInts("pads", pads);
  c.node().SetInts("group", {s.group});
  if (!s.activation.empty()) c.node().SetString("activation", s.activation);
  if (s.activation == "Clip") c.node().SetFloats("activation_params", {-1, 6});
  if (s.activation == "LeakyRelu") c.node().SetFloats("activation_params", {0.1f});
  const absl::StatusOr<Window2d> window = ConvWindow(c.node(), x, weight);
  if (!window.ok()) return false;
  Shape y = {window->batch, window->out_channels, window->out_h, window->out_w};
  if (s.one_dimensional) y.erase(y.begin() + 2);
  const auto elements = [](const Shape& shape) {
    return static_cast<size_t>(TensorType{DType::kFloat32, shape}.elements());
  };
  c.AddCodes(a, x, RandomCodes(rng, a, elements(x)));
  std::vector<float> scales;
  if (Pick(rng, 2) == 0) scales = std::vector<float>(static_cast<size_t>(s.outputs), 0.75f);
  c.AddWeight(w, weight, RandomCodes(rng, w, elements(weight), w_fill), scales);
  if (bias) {
    c.AddFloat({s.outputs}, RandomFloats(rng, static_cast<size_t>(s.outputs)));
  } else {
    c.AddAbsent();
  }
  if (residual) c.AddFloat(y, RandomFloats(rng, elements(y)));
  c.SetOutput(y);
  ExpectMatchesHistogram(c, s.Name());
  return true;
}

int64_t Draw(Rng& rng, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(Pick(rng, static_cast<size_t>(high - low + 1)));
}

ConvShape RandomShape(Rng& rng) {
  ConvShape s;
  s.one_dimensional = Pick(rng, 5) == 0;
  s.batch = Draw(rng, 1, 3);
  s.group = Pick(rng, 3) == 0 ? Draw(rng, 2, 4) : 1;
  s.channels = s.group * Draw(rng, 1, 9);
  s.outputs = s.group * Draw(rng, 1, 15);
  s.height = s.one_dimensional ? 1 : Draw(rng, 1, 12);
  s.width = Draw(rng, 1, 40);
  s.kernel_h = s.one_dimensional ? 1 : Draw(rng, 1, 4);
  s.kernel_w = Draw(rng, 1, 6);
  s.stride_h = s.one_dimensional ? 1 : Draw(rng, 1, 3);
  s.stride_w = Draw(rng, 1, 3);
  s.dilation_h = s.one_dimensional ? 1 : Draw(rng, 1, 2);
  s.dilation_w = Draw(rng, 1, 3);
  if (!s.one_dimensional) {
    s.top = Draw(rng, 0, 3);
    s.bottom = Draw(rng, 0, 3);
  }
  s.left = Draw(rng, 0, 4);
  s.right = Draw(rng, 0, 4);
  return s;
}

TEST(Conv, MatchesForRandomShapesAndCodebooks) {
  const unsigned seed = 31;
  Rng rng(seed);
  int ran = 0;
  for (int trial = 0; trial < 250; ++trial) {
    const ConvShape s = RandomShape(rng);
    ran += ExpectConvMatches(rng, s, RandomCodebook(rng), RandomCodebook(rng), Fill::kRandom, Pick(rng, 2) == 0,
                             Pick(rng, 2) == 0);
    if (HasFatalFailure()) FAIL() << "seed " << seed << " trial " << trial;
  }
  EXPECT_GT(ran, 150);
}

TEST(Conv, MatchesForRandomDepthwiseShapes) {
  const unsigned seed = 32;
  Rng rng(seed);
  int ran = 0;
  for (int trial = 0; trial < 250; ++trial) {
    ConvShape s = RandomShape(rng);
    s.group = s.channels = Draw(rng, 2, 9);
    s.outputs = s.group * (Pick(rng, 3) == 0 ? Draw(rng, 2, 6) : 1);
    s.stride_w = Draw(rng, 1, 6);
    s.dilation_w = Draw(rng, 1, 9);
    ran += ExpectConvMatches(rng, s, RandomCodebook(rng), RandomCodebook(rng));
    if (HasFatalFailure()) FAIL() << "seed " << seed << " trial " << trial;
  }
  EXPECT_GT(ran, 80);
}

TEST(Conv, MatchesForEveryWeightWidth) {
  Rng rng(33);
  for (int n = 2; n <= 7; ++n) {
    for (bool w_signed : {false, true}) {
      for (bool a_signed : {false, true}) {
        ConvShape s;
        s.channels = 6, s.height = 9, s.width = 11, s.outputs = 14, s.kernel_h = s.kernel_w = 3;
        s.top = s.left = s.bottom = s.right = 1;
        const Codebook a = RandomCodebook(rng, 9 - n, a_signed, Grid::kQ7);
        ExpectConvMatches(rng, s, a, RandomCodebook(rng, n, w_signed, Grid::kQ7));
        s.group = 6, s.outputs = 6;
        ExpectConvMatches(rng, s, a, RandomCodebook(rng, n, w_signed, Grid::kQ7));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Conv, MatchesWhereChunksAndRowsAreDivided) {
  Rng rng(34);
  ConvShape s;
  // More than one chunk of positions; rows of outputs that cross panels.
  s.channels = 5, s.height = 23, s.width = 29, s.outputs = 26, s.kernel_h = s.kernel_w = 3, s.left = s.top = 1;
  ExpectConvMatches(rng, s, RandomCodebook(rng), RandomCodebook(rng));
  // Pointwise, several chunks.
  ConvShape p;
  p.channels = 16, p.height = 20, p.width = 20, p.outputs = 25;
  ExpectConvMatches(rng, p, RandomCodebook(rng), RandomCodebook(rng));
  // Nothing to add to the sums but the bias: several tiles at once, whatever becomes of them.
  const Codebook a = RandomCodebook(rng, 4, false, Grid::kQ7), w = RandomCodebook(rng, 3, true, Grid::kQ7);
  for (const char* activation : {"", "Relu", "Clip", "LeakyRelu", "Sigmoid"}) {
    p.activation = activation;
    ExpectConvMatches(rng, p, a, w);
  }
  // One chunk, so that threads share the outputs.
  ConvShape q;
  q.channels = 40, q.height = q.width = 5, q.outputs = 50, q.kernel_h = q.kernel_w = 3;
  ExpectConvMatches(rng, q, RandomCodebook(rng), RandomCodebook(rng));
}

TEST(Conv, PaddingBeyondTheKernelGivesZeroSums) {
  Rng rng(35);
  ConvShape s;
  s.channels = 4, s.height = 2, s.width = 2, s.outputs = 3, s.kernel_h = s.kernel_w = 2;
  s.top = s.left = s.bottom = s.right = 5;
  ExpectConvMatches(rng, s, RandomCodebook(rng, 3, true, Grid::kQ7), RandomCodebook(rng, 3, true, Grid::kQ7));
  // Only padding is seen: the stride steps over the input.
  s.left = 7, s.stride_w = 12, s.right = 4;
  ExpectConvMatches(rng, s, RandomCodebook(rng, 3, true, Grid::kQ7), RandomCodebook(rng, 3, true, Grid::kQ7));
  s.group = 1, s.channels = 1;
  ExpectConvMatches(rng, s, RandomCodebook(rng, 3, true, Grid::kQ7), RandomCodebook(rng, 3, true, Grid::kQ7));
}

TEST(Conv, ZeroExtents) {
  Rng rng(36);
  ConvShape s;
  s.batch = 0, s.channels = 4, s.height = s.width = 6, s.outputs = 5, s.kernel_h = s.kernel_w = 3;
  EXPECT_TRUE(ExpectConvMatches(rng, s, RandomCodebook(rng), RandomCodebook(rng)));
  s.batch = 2, s.outputs = 0;
  ExpectConvMatches(rng, s, RandomCodebook(rng), RandomCodebook(rng));
  // No channels: k is 0 and the result is the bias.
  s.outputs = 5, s.channels = 0;
  ExpectConvMatches(rng, s, RandomCodebook(rng), RandomCodebook(rng));
}

TEST(Conv, SplitsLongSumsOfExtremeDigits) {
  Rng rng(37);
  ConvShape s;
  s.channels = 20000, s.height = 3, s.width = 3, s.outputs = 2, s.kernel_h = s.kernel_w = 3;
  for (bool a_signed : {false, true}) {
    for (Fill fill : {Fill::kLargest, Fill::kLargestNegative}) {
      ExpectConvMatches(rng, s, RandomCodebook(rng, 3, a_signed, Grid::kQ7, true),
                        RandomCodebook(rng, 3, true, Grid::kQ14, true), fill);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Conv, RealGridRunsOnTheHistogram) {
  Rng rng(38);
  ConvShape s;
  s.channels = 3, s.height = s.width = 6, s.outputs = 4, s.kernel_h = s.kernel_w = 3, s.top = s.left = 1;
  ExpectConvMatches(rng, s, RandomCodebook(rng, 3, false, Grid::kReal), RandomCodebook(rng, 3, true, Grid::kReal));
}

}  // namespace
}  // namespace tally::testing
