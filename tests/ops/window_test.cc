// Window geometry against a count of the windows one by one.
#include "runtime/ops/window.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace tally {
namespace {

struct Case {
  int64_t in, kernel, stride, dilation, pad_begin, pad_end;
  int64_t extent() const { return (kernel - 1) * dilation + 1; }
};

Case AnyCase() {
  Case c;
  c.in = *rc::gen::inRange<int64_t>(1, 20);
  c.kernel = *rc::gen::inRange<int64_t>(1, 6);
  c.stride = *rc::gen::inRange<int64_t>(1, 6);
  c.dilation = *rc::gen::inRange<int64_t>(1, 4);
  c.pad_begin = *rc::gen::inRange<int64_t>(0, c.extent());
  c.pad_end = *rc::gen::inRange<int64_t>(0, c.extent());
  return c;
}

// Windows o = 0, 1, ... begin at o * stride of the padded input. In floor mode they end within it. In ceil mode they
// may hang over by less than a stride, but begin within the input or the padding before it.
int64_t CountOneByOne(const Case& c, bool ceil_mode) {
  const int64_t padded = c.in + c.pad_begin + c.pad_end;
  int64_t count = 0;
  for (int64_t begin = 0; begin < padded; begin += c.stride) {
    const int64_t overhang = begin + c.extent() - padded;
    if (ceil_mode ? overhang < c.stride && begin < c.in + c.pad_begin : overhang <= 0) ++count;
  }
  return count;
}

Node PoolNode(const Case& h, const Case& w) {
  Node node;
  node.op = "MaxPool";
  node.SetInts("kernel_shape", {h.kernel, w.kernel});
  node.SetInts("strides", {h.stride, w.stride});
  node.SetInts("dilations", {h.dilation, w.dilation});
  return node;
}

RC_GTEST_PROP(PoolWindow, CountsTheValidWindows, ()) {
  const Case h = AnyCase();
  const Case w = AnyCase();
  const bool ceil_mode = *rc::gen::arbitrary<bool>();
  Node node = PoolNode(h, w);
  node.SetInts("pads", {h.pad_begin, w.pad_begin, h.pad_end, w.pad_end});
  node.SetInts("ceil_mode", {ceil_mode});
  const absl::StatusOr<Window2d> window = PoolWindow(node, {2, 3, h.in, w.in});
  const int64_t out_h = CountOneByOne(h, ceil_mode);
  const int64_t out_w = CountOneByOne(w, ceil_mode);
  RC_CLASSIFY(!window.ok());
  RC_ASSERT(window.ok() == (out_h > 0 && out_w > 0));
  if (!window.ok()) return;
  RC_ASSERT(window->out_h == out_h);
  RC_ASSERT(window->out_w == out_w);
  RC_ASSERT(window->in_channels == 3 && window->out_channels == 3 && window->batch == 2 && window->group == 1);
  RC_ASSERT(window->pad_top == h.pad_begin && window->pad_left == w.pad_begin);
  RC_ASSERT(window->pad_bottom == h.pad_end && window->pad_right == w.pad_end);
}

RC_GTEST_PROP(PoolWindow, SamePadsAsLittleAsNeeded, ()) {
  const Case h = AnyCase();
  const Case w = AnyCase();
  const bool upper = *rc::gen::arbitrary<bool>();
  Node node = PoolNode(h, w);
  node.SetString("auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER");
  node.SetInts("ceil_mode", {*rc::gen::arbitrary<bool>()});
  const absl::StatusOr<Window2d> window = PoolWindow(node, {1, 1, h.in, w.in});
  RC_ASSERT(window.ok());
  const auto check = [&](const Case& c, int64_t out, int64_t begin, int64_t end) {
    RC_ASSERT(out == (c.in + c.stride - 1) / c.stride);
    const int64_t reach = (out - 1) * c.stride + c.extent();
    RC_ASSERT(begin + end == std::max<int64_t>(0, reach - c.in));
    RC_ASSERT((upper ? end - begin : begin - end) == (begin + end) % 2);
  };
  check(h, window->out_h, window->pad_top, window->pad_bottom);
  check(w, window->out_w, window->pad_left, window->pad_right);
}

RC_GTEST_PROP(ConvWindow, OneDimensionalIsHeightOne, ()) {
  const Case c = AnyCase();
  Node flat;
  flat.op = "Conv";
  flat.SetInts("strides", {c.stride});
  flat.SetInts("dilations", {c.dilation});
  flat.SetInts("pads", {c.pad_begin, c.pad_end});
  flat.SetInts("group", {2});
  Node square = flat;
  square.SetInts("strides", {1, c.stride});
  square.SetInts("dilations", {1, c.dilation});
  square.SetInts("pads", {0, c.pad_begin, 0, c.pad_end});
  const absl::StatusOr<Window2d> a = ConvWindow(flat, {1, 4, c.in}, {6, 2, c.kernel});
  const absl::StatusOr<Window2d> b = ConvWindow(square, {1, 4, 1, c.in}, {6, 2, 1, c.kernel});
  RC_ASSERT(a.ok() == (CountOneByOne(c, false) > 0));
  RC_ASSERT(a.ok() == b.ok());
  if (!a.ok()) return;
  RC_ASSERT(a->out_w == CountOneByOne(c, false));
  RC_ASSERT(a->in_h == 1 && a->out_h == 1 && a->kernel_h == 1 && a->stride_h == 1 && a->dilation_h == 1);
  RC_ASSERT(b->out_w == a->out_w && b->out_h == 1 && b->k() == a->k());
  RC_ASSERT(a->out_channels == 6 && a->k() == 2 * c.kernel && !a->is_depthwise());
}

TEST(ConvWindow, KnowsDepthwise) {
  Node node;
  node.op = "Conv";
  node.SetInts("group", {4});
  const absl::StatusOr<Window2d> window = ConvWindow(node, {1, 4, 3, 3}, {8, 1, 3, 3});
  ASSERT_TRUE(window.ok());
  EXPECT_TRUE(window->is_depthwise());
  EXPECT_EQ(window->out_channels_per_group(), 2);
  EXPECT_EQ(window->k(), 9);
}

}  // namespace
}  // namespace tally
