// The functions of every look-up kernel against plain arithmetic on int32, before any rounding to float could hide a
// difference.
#include <cstdlib>

#include "tests/backends/exponent/lookup_kernel_harness.h"

namespace tally::testing {
namespace {

int RandomDigit(Rng& rng, bool is_signed) {
  // The ends are the interesting values.
  const int digit = Pick(rng, 4) == 0 ? 127 : static_cast<int>(Pick(rng, 128));
  return is_signed && Pick(rng, 2) == 0 ? -digit : digit;
}

// Every stored width with its possible signs: 2 and 8 bits have one each.
std::vector<Codebook> Books(Rng& rng) {
  std::vector<Codebook> books;
  for (int bits = 2; bits <= 8; ++bits) {
    for (bool is_signed : {false, true}) {
      if ((bits == 2 && is_signed) || (bits == 8 && !is_signed)) continue;
      books.push_back(BookOfBits(rng, bits, is_signed));
    }
  }
  return books;
}

// Random rows whose codes, targets and strides differ by row; `unit` digits come from one code position.
struct Area {
  Area(Rng& rng, size_t width, size_t unit, size_t step = 1) {
    const size_t row = width == 0 ? 0 : (width - 1) * step + 1;
    area.width = width;
    area.rows = Pick(rng, 4);
    area.source_stride = row + Pick(rng, 5);
    area.target_stride = unit * width + Pick(rng, 9);
    area.source_step = step;
    const size_t before = area.rows == 0 ? 0 : area.rows - 1;
    source_size = area.rows == 0 ? 0 : before * area.source_stride + row;
    target_size = area.rows == 0 ? 0 : before * area.target_stride + unit * width;
  }
  LookupArea area;
  size_t source_size, target_size;
};

TEST_P(LookupKernelTest, TranslatesEveryWidthAndCode) {
  Rng rng(101);
  for (const Codebook& book : Books(rng)) {
    const LookupTable table = MakeLookupTable(book, 0, kernel().signed_offset);
    for (size_t width = 0; width <= 200; ++width) {
      const Area a(rng, width, 1);
      const auto codes = AnyBytes(rng, a.source_size);
      const auto digits = Exact<uint8_t>(a.target_size);
      kernel().translate(codes.get(), a.area, table, digits.get());
      for (size_t y = 0; y < a.area.rows; ++y) {
        for (size_t i = 0; i < a.area.target_stride && y * a.area.target_stride + i < a.target_size; ++i) {
          // What lies between the rows stays untouched.
          const uint8_t expected = i < width ? table.digit[codes[y * a.area.source_stride + i]] : 0;
          ASSERT_EQ(digits[y * a.area.target_stride + i], expected) << "bits " << table.bits << " width " << width;
        }
      }
    }
  }
}

TEST_P(LookupKernelTest, InterleavesEveryWidthAndStep) {
  Rng rng(102);
  for (const Codebook& book : Books(rng)) {
    const LookupTable table = MakeLookupTable(book, 0, kernel().signed_offset);
    for (size_t width = 0; width <= 140; ++width) {
      const size_t step = 1 + Pick(rng, 2);
      const Area a(rng, width, 4, step);
      std::unique_ptr<uint8_t[]> codes[4];
      const uint8_t* pointers[4];
      for (int j = 0; j < 4; ++j) pointers[j] = (codes[j] = AnyBytes(rng, a.source_size)).get();
      const auto digits = Exact<uint8_t>(a.target_size);
      kernel().interleave(pointers, a.area, table, digits.get());
      for (size_t y = 0; y < a.area.rows; ++y) {
        for (size_t i = 0; i < a.area.target_stride && y * a.area.target_stride + i < a.target_size; ++i) {
          const uint8_t expected =
              i < 4 * width ? table.digit[codes[i % 4][y * a.area.source_stride + i / 4 * step]] : uint8_t{0};
          ASSERT_EQ(digits[y * a.area.target_stride + i], expected)
              << "bits " << table.bits << " width " << width << " step " << step;
        }
      }
    }
  }
}

TEST_P(LookupKernelTest, DecodesEveryWidth) {
  Rng rng(103);
  for (const Codebook& book : Books(rng)) {
    for (int digit = 0; digit < DigitCount(book); ++digit) {
      const LookupTable table = MakeLookupTable(book, digit, 0);
      for (size_t units = 0; units <= 5; ++units) {
        const std::vector<uint8_t> codes = RandomCodes(rng, book, units * kLookupUnit);
        auto stream = Exact<uint8_t>(StreamBytes(units, table.bits) + 64);
        PackStream(codes.data(), units, table.bits, stream.get());
        auto digits = Exact<int8_t>(units * kLookupUnit);
        kernel().decode(stream.get(), units, table, digits.get());
        const std::vector<int32_t> mantissas = book.SignedMantissas();
        for (size_t i = 0; i < codes.size(); ++i) {
          const int32_t m = mantissas[codes[i]];
          const int32_t magnitude = digit == 0 ? std::abs(m) % 128 : std::abs(m) / 128;
          ASSERT_EQ(digits[i], m < 0 ? -magnitude : magnitude) << "bits " << table.bits << " code " << i;
        }
      }
    }
  }
}

TEST_P(LookupKernelTest, TilesOfEveryRowCountAndTailOfGroups) {
  Rng rng(105);
  for (size_t rows = 1; rows <= std::max(kLookupRows, kernel().panel_rows); ++rows) {
    for (size_t groups : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 37}) {
      for (int variant = 0; variant < 16; ++variant) {
        const bool act_signed = variant & 1;
        const size_t lanes = variant & 2 ? 32 : 16;
        // Rows are a panel of weights, a panel of activations, or pixels of activations, with weights as digits or as
        // codes of 4 bits: of the first 16 lanes in the low ones of a byte, of the others in the high ones.
        const bool acts_in_lanes = variant / 4 == 0, pixels = variant / 4 >= 2, codes = variant / 4 == 3;
        if (rows > (pixels ? kLookupRows : kernel().panel_rows) || (codes && !kernel().decodes_tiles)) continue;
        LookupTile tile;
        // Groups lie anywhere, at equal distances or not, also over each other's slack.
        const size_t group_bytes = codes ? 64 : lanes * 4, step = group_bytes + Pick(rng, 9);
        std::vector<size_t> offsets;
        for (size_t g = 0; g < groups; ++g) offsets.push_back((groups - 1 - g) * step);
        if (groups > 0 && Pick(rng, 2) == 0) std::swap(offsets[Pick(rng, groups)], offsets[Pick(rng, groups)]);
        auto lane_panel = Exact<uint8_t>(groups == 0 ? 0 : (groups - 1) * step + group_bytes);
        const Codebook book = RandomCodebook(rng, 3, true, Grid::kQ7);
        const std::vector<int32_t> mantissas = book.SignedMantissas();
        const LookupTable table = MakeLookupTable(book, 0, 0);
        const size_t pixel_step = rows * 4 + Pick(rng, 9);
        std::vector<size_t> row_offsets;
        for (size_t g = 0; g < groups; ++g) row_offsets.push_back((groups - 1 - g) * pixel_step);
        const size_t pixel_bytes = groups == 0 ? 0 : (groups - 1) * pixel_step + rows * 4;
        auto row_panel = Exact<uint8_t>(pixels ? pixel_bytes : PanelBytes(rows, groups));
        std::vector<std::vector<int>> lane_digits(lanes), row_digits(rows);
        for (size_t k = 0; k < 4 * groups; ++k) {
          for (size_t l = 0; l < lanes; ++l) {
            if (codes) {
              const size_t code = Pick(rng, mantissas.size());
              lane_digits[l].push_back(mantissas[code]);
              uint8_t& byte = lane_panel[offsets[k / 4] + 4 * (l % 16) + k % 4];
              byte = static_cast<uint8_t>(l < 16 ? code : byte | code << 4);
              continue;
            }
            const int d = RandomDigit(rng, acts_in_lanes ? act_signed : true);
            lane_digits[l].push_back(d);
            lane_panel[offsets[k / 4] + 4 * l + k % 4] = acts_in_lanes ? Store(d, act_signed) : static_cast<uint8_t>(d);
          }
          for (size_t r = 0; r < rows; ++r) {
            const int d = RandomDigit(rng, acts_in_lanes ? true : act_signed);
            row_digits[r].push_back(d);
            const size_t at = pixels ? row_offsets[k / 4] + 4 * r + k % 4 : PanelAt(k, r, rows, groups);
            row_panel[at] = acts_in_lanes ? static_cast<uint8_t>(d) : Store(d, act_signed);
          }
        }
        const size_t stride = lanes + 5;
        auto acc = Exact<int32_t>((rows - 1) * stride + lanes);
        tile.lanes = lane_panel.get();
        tile.lane_offsets = offsets.data();
        tile.rows = row_panel.get();
        tile.row_offsets = pixels ? row_offsets.data() : nullptr;
        tile.table = codes ? &table : nullptr;
        tile.groups = groups;
        tile.row_count = rows;
        tile.lane_count = lanes;
        tile.acts_in_lanes = acts_in_lanes;
        tile.act_signed = act_signed;
        tile.acc = acc.get();
        tile.acc_stride = stride;
        kernel().tile(tile);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t l = 0; l < lanes; ++l) {
            int64_t expected = 0, weight_sum = 0;
            for (size_t k = 0; k < 4 * groups; ++k) {
              expected += row_digits[r][k] * lane_digits[l][k];
              weight_sum += acts_in_lanes ? row_digits[r][k] : lane_digits[l][k];
            }
            ASSERT_EQ(acc[r * stride + l] + Correction(act_signed, weight_sum), expected)
                << "rows " << rows << " groups " << groups << " variant " << variant << " at " << r << ", " << l;
          }
        }
      }
    }
  }
}

TEST_P(LookupKernelTest, PacksPixelsOfSuccessivePositions) {
  if (kernel().pack == nullptr) GTEST_SKIP() << "the kernels of " << IsaName(GetParam().isa) << " pack nothing";
  Rng rng(111);
  for (int trial = 0; trial < 400; ++trial) {
    LookupPack pack;
    pack.run = 1 + Pick(rng, trial % 2 == 0 ? 8 : 60);
    pack.pitch = pack.run + Pick(rng, 4);
    pack.first = Pick(rng, 100);
    pack.count = 1 + Pick(rng, kLookupPackLanes);
    pack.groups = Pick(rng, 5);
    const size_t last = pack.first + pack.count - 1, pixels = last / pack.run * pack.pitch + last % pack.run + 1;
    std::vector<size_t> offsets;
    for (size_t g = 0; g < pack.groups; ++g) offsets.push_back(Pick(rng, 200));
    const auto image = AnyBytes(rng, pixels * 4 + 200 + 60);
    pack.image = image.get();
    pack.offsets = offsets.data();
    pack.to_stride = pack.count * 4 + Pick(rng, 70);
    const auto packed = Exact<uint8_t>(pack.groups * pack.to_stride + 60);
    pack.to = packed.get();
    kernel().pack(pack);
    for (size_t g = 0; g < pack.groups; ++g) {
      for (size_t i = 0; i < pack.count * 4; ++i) {
        const size_t p = pack.first + i / 4, pixel = p / pack.run * pack.pitch + p % pack.run;
        ASSERT_EQ(packed[g * pack.to_stride + i], image[offsets[g] + pixel * 4 + i % 4])
            << "run " << pack.run << " pitch " << pack.pitch << " first " << pack.first << " group " << g << " byte "
            << i;
      }
    }
  }
}

TEST_P(LookupKernelTest, TransposesAnyRowsAndLanesAndNothingElse) {
  Rng rng(108);
  for (size_t rows = 0; rows <= 70; ++rows) {
    for (size_t lanes = 1; lanes <= kLookupLanes; ++lanes) {
      const size_t padded = (rows + 15) / 16 * 16, stride = rows + Pick(rng, 5);
      auto from = Exact<int32_t>(padded * kLookupLanes);
      for (size_t i = 0; i < padded * kLookupLanes; ++i) from[i] = static_cast<int32_t>(rng());
      const size_t size = rows == 0 ? 0 : stride * (lanes - 1) + rows;
      auto to = Exact<int32_t>(size);
      std::fill(to.get(), to.get() + size, 7);
      kernel().transpose(from.get(), rows, lanes, to.get(), stride);
      for (size_t i = 0; i < size; ++i) {
        const size_t r = i % stride, l = i / stride;
        ASSERT_EQ(to[i], r < rows ? from[r * kLookupLanes + l] : 7) << rows << " rows, " << lanes << " lanes, " << i;
      }
    }
  }
}

TEST_P(LookupKernelTest, StreamOfEveryWidthAndRowCount) {
  Rng rng(106);
  for (const Codebook& book : Books(rng)) {
    for (size_t rows = 1; rows <= kLookupStreamRows; ++rows) {
      for (size_t units : {0, 1, 2, 3, 6}) {
        const bool act_signed = Pick(rng, 2) == 0;
        const LookupTable table = MakeLookupTable(book, 0, 0);
        const std::vector<uint8_t> codes = RandomCodes(rng, book, units * kLookupUnit);
        auto stream = Exact<uint8_t>(StreamBytes(units, table.bits) + 64);
        PackStream(codes.data(), units, table.bits, stream.get());
        const auto panel = Exact<uint8_t>(units * rows * 16);
        std::vector<std::vector<int>> digits(rows);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t k = 0; k < 16 * units; ++k) {
            digits[r].push_back(RandomDigit(rng, act_signed));
            panel[(k / 16 * rows + r) * 16 + k % 16] = Store(digits[r][k], act_signed);
          }
        }
        auto acc = Exact<int32_t>(rows * kLookupLanes);
        LookupStream call;
        call.stream = stream.get();
        call.table = &table;
        call.rows = panel.get();
        call.row_count = rows;
        call.act_signed = act_signed;
        call.units = units;
        call.acc = acc.get();
        call.acc_stride = kLookupLanes;
        kernel().stream(call);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t l = 0; l < kLookupLanes; ++l) {
            int64_t expected = 0, weight_sum = 0;
            for (size_t k = 0; k < 16 * units; ++k) {
              const int w = static_cast<int8_t>(table.digit[codes[k / 4 * kLookupGroupBytes + 4 * l + k % 4]]);
              expected += digits[r][k] * w;
              weight_sum += w;
            }
            ASSERT_EQ(acc[r * kLookupLanes + l] + Correction(act_signed, weight_sum), expected)
                << "bits " << table.bits << " rows " << rows << " units " << units << " at " << r << ", " << l;
          }
        }
      }
    }
  }
}

TEST_P(LookupKernelTest, DepthwiseOfEveryStepAndTail) {
  Rng rng(107);
  for (int trial = 0; trial < 600; ++trial) {
    LookupDepthwise d;
    d.kernel_h = 1 + Pick(rng, 4);
    d.kernel_w = 1 + Pick(rng, 9);
    d.stride = 1 + Pick(rng, 5);
    d.dilation = 1 + Pick(rng, 12);
    d.act_signed = Pick(rng, 2) == 0;
    d.width = 1 + Pick(rng, 40);
    d.height = 1 + Pick(rng, 4);
    d.row_step = (d.width - 1) * d.stride + (d.kernel_w - 1) * d.dilation + 1 + Pick(rng, 9);
    d.image_stride = d.row_step * (1 + Pick(rng, 2));
    const size_t used = (d.height - 1) * d.image_stride + (d.kernel_h - 1) * d.row_step + (d.width - 1) * d.stride +
                        (d.kernel_w - 1) * d.dilation + 1;
    const size_t padded_w = (d.kernel_w + 3) / 4 * 4;
    auto image = Exact<uint8_t>(used + 128);
    std::vector<int> digits(used);
    for (size_t i = 0; i < used; ++i) image[i] = Store(digits[i] = RandomDigit(rng, d.act_signed), d.act_signed);
    auto weights = Exact<int8_t>(d.kernel_h * padded_w);
    int64_t weight_sum = 0;
    for (size_t r = 0; r < d.kernel_h; ++r) {
      for (size_t s = 0; s < d.kernel_w; ++s) {
        weights[r * padded_w + s] = static_cast<int8_t>(RandomDigit(rng, true));
        weight_sum += weights[r * padded_w + s];
      }
    }
    auto acc = Exact<int32_t>((d.height - 1) * d.width + (d.width + 15) / 16 * 16);
    d.image = image.get();
    d.weights = weights.get();
    d.acc = acc.get();
    kernel().depthwise(d);
    for (size_t i = 0; i < d.width * d.height; ++i) {
      const size_t y = i / d.width, x = i % d.width;
      int64_t expected = 0;
      for (size_t r = 0; r < d.kernel_h; ++r) {
        for (size_t s = 0; s < d.kernel_w; ++s) {
          expected +=
              digits[y * d.image_stride + r * d.row_step + x * d.stride + s * d.dilation] * weights[r * padded_w + s];
        }
      }
      ASSERT_EQ(acc[i] + Correction(d.act_signed, weight_sum), expected)
          << "trial " << trial << " kernel " << d.kernel_h << "x" << d.kernel_w << " stride " << d.stride
          << " dilation " << d.dilation << " at " << y << ", " << x;
    }
  }
}

// Offsets may push an intermediate sum past 2^31; the corrected one is still exact modulo 2^32.
TEST_P(LookupKernelTest, LongestSumOfExtremeDigitsIsExact) {
  const size_t groups = 33284;  // 127 * 127 * 4 * 33284 = 2,147,350,544 < 2^31
  for (bool act_signed : {false, true}) {
    for (int act : {127, act_signed ? -127 : 127}) {
      for (int weight : {127, -127}) {
        auto lanes = Exact<uint8_t>(groups * kLookupGroupBytes);
        auto rows = Exact<uint8_t>(PanelBytes(1, groups));
        std::memset(lanes.get(), weight, groups * kLookupGroupBytes);
        std::memset(rows.get(), Store(act, act_signed), groups * 4);
        int32_t acc[16] = {};
        std::vector<size_t> offsets;
        for (size_t g = 0; g < groups; ++g) offsets.push_back(g * kLookupGroupBytes);
        LookupTile tile;
        tile.lanes = lanes.get();
        tile.lane_offsets = offsets.data();
        tile.rows = rows.get();
        tile.groups = groups;
        tile.row_count = 1;
        tile.lane_count = 16;
        tile.act_signed = act_signed;
        tile.acc = acc;
        tile.acc_stride = 16;
        kernel().tile(tile);
        const int64_t k = static_cast<int64_t>(groups) * 4;
        const uint32_t corrected =
            static_cast<uint32_t>(acc[0]) + static_cast<uint32_t>(Correction(act_signed, weight * k));
        EXPECT_EQ(static_cast<int32_t>(corrected), act * weight * k);
      }
    }
  }
}

INSTANTIATE_LOOKUP_KERNEL_TESTS(LookupKernelTest);

TEST(LookupTableTest, ChoosesTheBestThatTheCpuHas) {
  for (const IsaEntry<LookupKernel>& entry : LookupKernels()) {
    CpuFeatures cpu;
    cpu.Add(entry.isa);
    EXPECT_EQ(ChooseKernel(LookupKernels(), cpu).isa, entry.isa);
  }
  CpuFeatures all;
  for (const IsaEntry<LookupKernel>& entry : LookupKernels()) all.Add(entry.isa);
  EXPECT_EQ(ChooseKernel(LookupKernels(), all).isa, LookupKernels().front().isa);
  EXPECT_EQ(LookupKernels().back().isa, Isa::kScalar);
  // A CPU with nothing that this build has.
  CpuFeatures other;
  other.Add(all.Has(Isa::kNeon) ? Isa::kAvx512 : Isa::kNeon);
  EXPECT_EQ(ChooseKernel(LookupKernels(), other).isa, Isa::kScalar);
}

}  // namespace
}  // namespace tally::testing
