// The look-up kernels of every instruction set that this CPU runs, operands in the first cache. Items are products.
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/exponent/kernels/lookup/lookup_table.h"
#include "backends/exponent/lookup_product.h"
#include "bench/micro/operands.h"
#include "benchmark/benchmark.h"

namespace tally::bench {
namespace {

const LookupKernel& Scalar() { return *LookupKernels().back().kernel; }

// 2 stored bits have no room for a sign.
Codebook Book(int bits) {
  const bool is_signed = bits > 2;
  return *MakeCodebook(is_signed ? bits - 1 : bits, is_signed, Grid::kQ7, EncodeRule::kNearest, 1.3, 0.5, 0.01);
}

enum class Operands { kActsInLanes, kWeightsInLanes, kPixels };
constexpr const char* kOperandNames[] = {"acts_in_lanes", "weights_in_lanes", "pixels"};

void Tile(benchmark::State& state, const LookupKernel& kernel, Operands operands, size_t rows, size_t groups) {
  const bool pixels = operands == Operands::kPixels;
  const AlignedBuffer lanes = SmallBytes(groups * kLookupGroupBytes, 127);
  const size_t row_bytes = (groups + 3) / 4 * 16;
  const AlignedBuffer digits = SmallBytes((groups + 3) / 4 * 4 * 64, 127);  // rows, or pixels
  std::vector<size_t> lane_offsets, row_offsets;
  for (size_t g = 0; g < groups; ++g) {
    lane_offsets.push_back(g * kLookupGroupBytes);
    row_offsets.push_back(g * 64);
  }
  std::vector<int32_t> acc(rows * kLookupLanes), expected = acc;
  LookupTile tile;
  tile.lanes = lanes.data();
  tile.lane_offsets = lane_offsets.data();
  if (pixels) tile.row_offsets = row_offsets.data();
  tile.groups = groups;
  tile.row_count = rows;
  tile.lane_count = kLookupLanes;
  tile.acts_in_lanes = operands == Operands::kActsInLanes;
  tile.acc_stride = kLookupLanes;
  AlignedBuffer panel(row_bytes * rows + kLookupPanelSlack);
  const auto use = [&](const LookupKernel& k, std::vector<int32_t>& sums) {
    for (size_t r = 0; r < rows; ++r) {
      FillPanelRow(digits.data() + row_bytes * (r % 16), groups, r, rows, k.row_groups, panel.data());
    }
    tile.rows = pixels ? digits.data() : panel.data();
    tile.acc = sums.data();
    k.tile(tile);
  };
  use(Scalar(), expected);
  const LookupScope scope(&kernel);
  use(kernel, acc);
  if (acc != expected) return state.SkipWithError("sums differ from the scalar kernel's");
  for (auto _ : state) {
    kernel.tile(tile);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(rows * kLookupLanes * groups * kLookupGroup));
}

void Stream(benchmark::State& state, const LookupKernel& kernel, int bits, size_t rows, size_t units) {
  const LookupTable table = MakeLookupTable(Book(bits), 0, 0);
  const AlignedBuffer codes = SmallBytes(units * kLookupUnit, (1 << bits) - 1);
  AlignedBuffer packed(StreamBytes(units, bits) + 64);
  PackStream(codes.data(), units, bits, packed.data());
  const AlignedBuffer panel = SmallBytes(units * rows * 16, 127);
  std::vector<int32_t> acc(rows * kLookupLanes), expected = acc;
  LookupStream call;
  call.stream = packed.data();
  call.table = &table;
  call.rows = panel.data();
  call.row_count = rows;
  call.units = units;
  call.acc_stride = kLookupLanes;
  call.acc = expected.data();
  Scalar().stream(call);
  call.acc = acc.data();
  kernel.stream(call);
  if (acc != expected) return state.SkipWithError("sums differ from the scalar kernel's");
  for (auto _ : state) {
    kernel.stream(call);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(rows * units * kLookupUnit));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(StreamBytes(units, bits)));
}

void Decode(benchmark::State& state, const LookupKernel& kernel, int bits, size_t units) {
  const LookupTable table = MakeLookupTable(Book(bits), 0, 0);
  const AlignedBuffer codes = SmallBytes(units * kLookupUnit, (1 << bits) - 1);
  AlignedBuffer packed(StreamBytes(units, bits) + 64);
  PackStream(codes.data(), units, bits, packed.data());
  AlignedBuffer digits(units * kLookupUnit), expected(units * kLookupUnit);
  Scalar().decode(packed.data(), units, table, reinterpret_cast<int8_t*>(expected.data()));
  kernel.decode(packed.data(), units, table, reinterpret_cast<int8_t*>(digits.data()));
  if (std::memcmp(digits.data(), expected.data(), digits.size()) != 0) {
    return state.SkipWithError("digits differ from the scalar kernel's");
  }
  for (auto _ : state) {
    kernel.decode(packed.data(), units, table, reinterpret_cast<int8_t*>(digits.data()));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(units * kLookupUnit));
}

[[maybe_unused]] const bool kRegistered =
    ForEachKernel(LookupKernels(), [](const std::string& isa, const LookupKernel& kernel) {
      for (const Operands operands : {Operands::kActsInLanes, Operands::kWeightsInLanes, Operands::kPixels}) {
        const size_t most = operands == Operands::kPixels ? kLookupRows : kernel.panel_rows;
        for (const size_t rows : {size_t{1}, size_t{6}, most}) {
          const std::string name =
              absl::StrCat("BM_LookupTile/", isa, "/", kOperandNames[static_cast<int>(operands)], "/rows:", rows);
          benchmark::RegisterBenchmark(name.c_str(), Tile, kernel, operands, rows, 144);
        }
      }
      for (int bits = 2; bits <= 8; ++bits) {
        for (const size_t rows : {size_t{1}, size_t{4}, kLookupStreamRows}) {
          const std::string name = absl::StrCat("BM_LookupStream/", isa, "/bits:", bits, "/rows:", rows);
          benchmark::RegisterBenchmark(name.c_str(), Stream, kernel, bits, rows, 64);
        }
        benchmark::RegisterBenchmark(absl::StrCat("BM_LookupDecode/", isa, "/bits:", bits).c_str(), Decode, kernel,
                                     bits, 32);
      }
    });

}  // namespace
}  // namespace tally::bench
