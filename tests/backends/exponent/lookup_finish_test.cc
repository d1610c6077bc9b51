// What look-up kernels make of sums in their registers: LookupFinish of lookup.h.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/backends/exponent/lookup_kernel_harness.h"

namespace tally::testing {
namespace {

using LookupFinishTest = LookupKernelTest;

// What a kernel makes of sums must be what the sums themselves lead to, in the lanes named and nowhere else.
class FinishCase {
 public:
  FinishCase(Rng& rng, size_t rows, bool by_row, bool in_place) : rows_(rows), by_row_(by_row) {
    const size_t count = by_row ? rows : kLookupLanes;
    for (size_t i = 0; i < count; ++i) {
      correction_.push_back(static_cast<int32_t>(rng()));
      scale_.push_back(std::uniform_real_distribution<float>(-2, 2)(rng));
      bias_.push_back(Pick(rng, 4) == 0 ? -0.0f : std::uniform_real_distribution<float>(-1e9f, 1e9f)(rng));
    }
    // Up to two runs of lanes, the second after a gap; in memory they follow each other in any order.
    const size_t cut = Pick(rng, kLookupLanes + 1), gap = Pick(rng, kLookupLanes + 1 - cut);
    first_[1] = cut + gap;
    count_[0] = cut;
    count_[1] = Pick(rng, kLookupLanes + 1 - first_[1]);
    stride_ = count_[0] + count_[1] + 1 + Pick(rng, 5);
    for (size_t i = 0; i < rows * stride_; ++i) {
      memory_.push_back(Pick(rng, 8) == 0 ? std::nanf("") : std::uniform_real_distribution<float>(-1e9f, 1e9f)(rng));
    }
    residual_ = memory_;
    const bool swapped = Pick(rng, 2) == 0;
    at_[0] = swapped ? count_[1] : 0;
    at_[1] = swapped ? 0 : count_[0];
    finish_.correction = correction_.data();
    finish_.scale = scale_.data();
    finish_.bias = bias_.data();
    finish_.low = Pick(rng, 2) == 0 ? -1e8f : -std::numeric_limits<float>::infinity();
    finish_.high = Pick(rng, 2) == 0 ? 1e8f : std::numeric_limits<float>::infinity();
    finish_.out_stride = finish_.residual_stride = stride_;
    for (int run = 0; run < 2; ++run) {
      finish_.lanes[run] = static_cast<uint32_t>(((uint64_t{1} << count_[run]) - 1) << first_[run]);
      finish_.out[run] = LaneZero(&memory_, run);
      finish_.residual[run] = LaneZero(in_place ? &memory_ : &residual_, run);
    }
  }

  const LookupFinish* call() const { return &finish_; }

  // REQUIRES: the kernel ran. `sums`: those of the same call without finish, [rows][32].
  void Check(const int32_t* sums) const {
    std::vector<float> expected = residual_;
    for (size_t r = 0; r < rows_; ++r) {
      for (int run = 0; run < 2; ++run) {
        for (size_t l = first_[run]; l < first_[run] + count_[run]; ++l) {
          const size_t channel = by_row_ ? r : l;
          const uint32_t sum =
              static_cast<uint32_t>(sums[r * kLookupLanes + l]) + static_cast<uint32_t>(correction_[channel]);
          float& out = expected[r * stride_ + at_[run] + l - first_[run]];
          float t = static_cast<float>(static_cast<int32_t>(sum)) * scale_[channel];
          t = t + bias_[channel];
          t = t + out;
          t = t < finish_.low ? finish_.low : t;
          out = t > finish_.high ? finish_.high : t;
        }
      }
    }
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(memory_[i])) continue;
      ASSERT_EQ(std::memcmp(&memory_[i], &expected[i], 4), 0) << "element " << i << " of rows of " << stride_;
    }
  }

  void UseOneRun() {
    finish_.lanes[1] = 0;
    count_[1] = 0;
  }

  // REQUIRES: one run. All lanes, no correction and -0 as residual, which the kernel may know.
  void UsePlainRows() {
    stride_ = kLookupLanes + 1;
    count_[0] = kLookupLanes;
    at_[0] = 0;
    memory_.assign(rows_ * stride_, -0.0f);
    residual_ = memory_;
    std::fill(correction_.begin(), correction_.end(), 0);
    finish_.lanes[0] = 0xFFFFFFFFu;
    finish_.out[0] = memory_.data();
    finish_.residual[0] = residual_.data();
    finish_.out_stride = finish_.residual_stride = stride_;
    finish_.is_plain = true;
  }

 private:
  // Where lane 0 of a run would be, which need not be within the memory.
  float* LaneZero(std::vector<float>* memory, int run) const {
    return reinterpret_cast<float*>(reinterpret_cast<uintptr_t>(memory->data()) +
                                    (at_[run] - first_[run]) * sizeof(float));
  }

  size_t rows_, stride_ = 0;
  bool by_row_;
  size_t first_[2] = {}, count_[2] = {}, at_[2] = {};
  std::vector<int32_t> correction_;
  std::vector<float> scale_, bias_, memory_, residual_;
  LookupFinish finish_;
};

TEST_P(LookupFinishTest, FinishesTilesAndStreams) {
  if (!kernel().finishes) GTEST_SKIP() << "the kernels of " << IsaName(GetParam().isa) << " leave sums to others";
  Rng rng(109);
  for (size_t rows = 1; rows <= kernel().panel_rows; ++rows) {
    for (int trial = 0; trial < 60; ++trial) {
      const size_t groups = trial % 5 == 0 ? Pick(rng, 40) : Pick(rng, 7);
      const auto lanes = AnyBytes(rng, groups * kLookupGroupBytes);
      const auto panel = AnyBytes(rng, PanelBytes(rows, groups));
      std::vector<size_t> offsets, row_offsets;
      for (size_t g = 0; g < groups; ++g) {
        offsets.push_back(g * kLookupGroupBytes);
        row_offsets.push_back(g * rows * kLookupGroup);
      }
      int32_t sums[kLookupPanelRows * kLookupLanes];
      LookupTile tile;
      tile.lanes = lanes.get();
      tile.lane_offsets = offsets.data();
      tile.rows = panel.get();
      tile.groups = groups;
      tile.row_count = rows;
      tile.lane_count = kLookupLanes;
      tile.acts_in_lanes = trial % 2 == 0;
      if (trial % 4 == 1 && rows <= kLookupRows) tile.row_offsets = row_offsets.data();
      tile.acc = sums;
      tile.acc_stride = kLookupLanes;
      FinishCase by_tile(rng, rows, tile.acts_in_lanes, Pick(rng, 2) == 0);
      const bool is_plain = trial % 3 == 0;
      if (!tile.acts_in_lanes || is_plain) by_tile.UseOneRun();
      if (is_plain) by_tile.UsePlainRows();
      kernel().tile(tile);
      tile.finish = by_tile.call();
      kernel().tile(tile);
      by_tile.Check(sums);

      if (rows > kLookupStreamRows) continue;
      const Codebook book = BookOfBits(rng, 2 + static_cast<int>(Pick(rng, 6)), false);
      const LookupTable table = MakeLookupTable(book, 0, 0);
      const size_t units = (groups + 3) / 4;
      auto packed = Exact<uint8_t>(StreamBytes(units, table.bits) + 64);
      PackStream(RandomCodes(rng, book, units * kLookupUnit).data(), units, table.bits, packed.get());
      LookupStream stream;
      stream.stream = packed.get();
      stream.table = &table;
      stream.rows = panel.get();
      stream.row_count = rows;
      stream.units = units;
      stream.acc = sums;
      stream.acc_stride = kLookupLanes;
      FinishCase by_stream(rng, rows, false, Pick(rng, 2) == 0);
      by_stream.UseOneRun();
      if (is_plain) by_stream.UsePlainRows();
      kernel().stream(stream);
      stream.finish = by_stream.call();
      kernel().stream(stream);
      by_stream.Check(sums);
    }
  }
}

// Several tiles in one call are what as many calls make of them.
TEST_P(LookupFinishTest, FinishesTilesBesideEachOther) {
  if (!kernel().finishes) GTEST_SKIP() << "the kernels of " << IsaName(GetParam().isa) << " leave sums to others";
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Rng rng(110);
  for (size_t rows = 1; rows <= kernel().panel_rows; ++rows) {
    for (size_t tiles = 1; tiles <= 4; ++tiles) {
      const size_t groups = 1 + Pick(rng, tiles == 1 ? 40 : 6), tile_bytes = kLookupLanes * kLookupGroup;
      const auto lanes = AnyBytes(rng, groups * tiles * tile_bytes);
      const auto panel = AnyBytes(rng, PanelBytes(rows, groups));
      std::vector<size_t> offsets;
      for (size_t g = 0; g < groups; ++g) offsets.push_back(g * tiles * tile_bytes);
      const std::vector<float> scale = RandomFloats(rng, rows), bias = RandomFloats(rng, rows);
      const std::vector<int32_t> no_correction(kLookupLanes, 0);
      const std::vector<float> no_residual(kLookupLanes, -0.0f);
      const size_t stride = tiles * kLookupLanes + 3;
      for (const float low : {-kInfinity, 0.0f}) {
        for (const float high : {6.0f, kInfinity}) {
          const float untouched = std::nanf("");
          std::vector<float> together(rows * stride, untouched), one_by_one = together;
          LookupFinish finish;
          finish.correction = no_correction.data();
          finish.scale = scale.data();
          finish.bias = bias.data();
          finish.low = low;
          finish.high = high;
          finish.lanes[0] = 0xFFFFFFFFu;
          finish.out_stride = stride;
          finish.residual[0] = finish.residual[1] = no_residual.data();
          LookupTile call;
          call.lane_offsets = offsets.data();
          call.rows = panel.get();
          call.groups = groups;
          call.row_count = rows;
          call.lane_count = kLookupLanes;
          call.acts_in_lanes = true;
          call.finish = &finish;
          for (size_t t = 0; t < tiles; ++t) {
            call.lanes = lanes.get() + t * tile_bytes;
            finish.out[0] = finish.out[1] = one_by_one.data() + t * kLookupLanes;
            kernel().tile(call);
          }
          finish.is_plain = true;
          call.lanes = lanes.get();
          call.tiles = tiles;
          finish.out[0] = finish.out[1] = together.data();
          kernel().tile(call);
          ASSERT_EQ(std::memcmp(together.data(), one_by_one.data(), together.size() * sizeof(float)), 0)
              << rows << " rows, " << tiles << " tiles, " << low << " .. " << high;
        }
      }
    }
  }
}

INSTANTIATE_LOOKUP_KERNEL_TESTS(LookupFinishTest);

}  // namespace
}  // namespace tally::testing
