// Gemm by counting: one pass over the weights per row of the input, without those weights that meet a zero.
#include "backends/exponent/bitsliced_gemm.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/exponent/kernels/bitsliced/bitsliced_table.h"
#include "backends/exponent/lookup_product.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally {
namespace {

constexpr size_t kMaxRows = size_t{1} << 20;

size_t WholeGroups(size_t rows) { return (rows + kBitslicedGroup - 1) / kBitslicedGroup * kBitslicedGroup; }

class BitslicedGemm : public CompiledNode {
 public:
  BitslicedGemm(Problem problem, const NodeContext& context, size_t parts)
      : problem_(std::move(problem)),
        entry_(ChooseKernel(BitslicedKernels(), context.cpu)),
        row_kernels_(*ChooseKernel(RowKernelTable(), context.cpu).kernel),
        parts_(parts),
        blocks_((problem_.outputs + kBitslicedOutputs - 1) / kBitslicedOutputs),
        row_bytes_(static_cast<size_t>(problem_.w.stored_bits()) * kBitslicedPlane),
        block_bytes_((problem_.k + 1) * row_bytes_),
        transform_(WalshTransform(problem_.w)) {
    PackWeights();
    problem_.weights = nullptr;
    PlanBuckets();
    size_t unused = 0;
    const size_t max_rows = problem_.k + magnitudes_.size() * (kBitslicedGroup - 1);
    rows_ = plan_.Add(1, (max_rows + kBitslicedAhead) * sizeof(uint32_t), &unused);
    ends_ = plan_.Add(1, magnitudes_.size() * sizeof(uint32_t), &unused);
    counters_ =
        plan_.Add(parts_, BitslicedScratchBytes(problem_.w.exponent_bits, magnitudes_.size()), &counters_stride_);
    sums_ = plan_.Add(parts_, kBitslicedOutputs * sizeof(int64_t), &sums_stride_);
  }

  absl::Status Run(const RunArgs& args) override {
    for (size_t m = 0; m < problem_.rows; ++m) RunRow(args, m);
    return absl::OkStatus();
  }

  Encoding input_encoding(size_t i) const override { return i == 0 ? Encoding::kCodes : Encoding::kPlain; }
  size_t scratch_bytes() const override { return plan_.total(); }
  size_t resident_weight_bytes() const override { return planes_.size(); }
  std::string kernel() const override { return absl::StrCat("bitsliced_gemv_b", problem_.w.stored_bits()); }
  std::string isa() const override { return IsaName(entry_.isa); }

 private:
  // [block of 512 outputs][row][planes], the last row of a block zeros.
  void PackWeights() {
    planes_ = AlignedBuffer(blocks_ * block_bytes_);
    std::memset(planes_.data(), 0, planes_.size());
    WeightRows rows(problem_);
    uint64_t max_sum = 0;
    const std::vector<int32_t> mantissas = problem_.w.SignedMantissas();
    for (size_t o = 0; o < problem_.outputs; ++o) {
      const uint8_t* codes = rows.Read(o);
      uint8_t* block = planes_.data() + o / kBitslicedOutputs * block_bytes_;
      uint64_t sum = 0;
      for (size_t i = 0; i < problem_.k; ++i) {
        SetPlanes(codes[i], problem_.w.exponent_bits, o % kBitslicedOutputs, block + i * row_bytes_);
        sum += static_cast<uint64_t>(std::abs(mantissas[codes[i]]));
      }
      max_sum = std::max(max_sum, sum);
    }
    is_wide_ = (max_sum * static_cast<uint64_t>(problem_.a.max_mantissa()) << problem_.w.exponent_bits) > 0x7FFFFFFF;
  }

  // A bucket per signed magnitude of the activations.
  void PlanBuckets() {
    const std::vector<int32_t> mantissas = problem_.a.SignedMantissas();
    std::fill(std::begin(bucket_of_), std::end(bucket_of_), kNone);
    for (size_t code = 0; code < mantissas.size(); ++code) {
      if (mantissas[code] == 0) continue;
      bucket_of_[code] = static_cast<uint8_t>(magnitudes_.size());
      magnitudes_.push_back(mantissas[code]);
    }
  }

  // Sorts the rows of one input by bucket.
  void SortRows(const RunArgs& args, const uint8_t* codes, BitslicedCall* call) const {
    uint32_t* rows = reinterpret_cast<uint32_t*>(args.scratch + rows_);
    uint32_t* ends = reinterpret_cast<uint32_t*>(args.scratch + ends_);
    uint32_t sizes[256] = {};
    for (size_t i = 0; i < problem_.k; ++i) ++sizes[bucket_of_[codes[i]]];
    uint32_t total = 0;
    for (size_t b = 0; b < magnitudes_.size(); ++b) {
      ends[b] = total;
      total += static_cast<uint32_t>(WholeGroups(sizes[b]));
      // The row after the last one is zeros.
      std::fill(rows + ends[b] + sizes[b], rows + total, static_cast<uint32_t>(problem_.k * row_bytes_));
    }
    for (size_t i = 0; i < problem_.k; ++i) {
      const uint8_t bucket = bucket_of_[codes[i]];
      if (bucket != kNone) rows[ends[bucket]++] = static_cast<uint32_t>(i * row_bytes_);
    }
    for (size_t b = 0; b < magnitudes_.size(); ++b) ends[b] = static_cast<uint32_t>(WholeGroups(ends[b]));
    // What comes next are the first rows of the next 512 outputs.
    for (size_t i = 0; i < kBitslicedAhead; ++i) {
      rows[total + i] = (i < total ? rows[i] : 0) + static_cast<uint32_t>(block_bytes_);
    }
    call->rows = rows;
    call->ends = ends;
  }

  void RunRow(const RunArgs& args, size_t m) const {
    BitslicedCall shared;
    shared.n = problem_.w.exponent_bits;
    shared.buckets = magnitudes_.size();
    shared.magnitudes = magnitudes_.data();
    shared.transform = transform_.data();
    SortRows(args, static_cast<const uint8_t*>(args.inputs[0]) + m * problem_.k, &shared);
    ForEachPart(args.pool, parts_, blocks_, [&](size_t part, size_t begin, size_t end) {
      BitslicedCall call = shared;
      call.counters = args.scratch + counters_ + part * counters_stride_;
      uint8_t* sums = args.scratch + sums_ + part * sums_stride_;
      if (is_wide_) {
        call.wide = reinterpret_cast<int64_t*>(sums);
      } else {
        call.narrow = reinterpret_cast<int32_t*>(sums);
      }
      for (size_t b = begin; b < end; ++b) {
        call.planes = planes_.data() + b * block_bytes_;
        entry_.kernel->count(call);
        const size_t o = b * kBitslicedOutputs, count = std::min(problem_.outputs - o, kBitslicedOutputs);
        const size_t element = m * problem_.outputs + o;
        const EpilogueRow row = problem_.epilogue.Row(args, o, 1, element);
        float* out = static_cast<float*>(args.outputs[0]) + element;
        if (is_wide_) {
          FinishRow(call.wide, count, row, out);
        } else {
          FinishRow(call.narrow, count, row, out, row_kernels_);
        }
      }
    });
  }

  static constexpr uint8_t kNone = 255;

  Problem problem_;
  IsaEntry<BitslicedKernel> entry_;
  const RowKernels& row_kernels_;
  size_t parts_;
  size_t blocks_;  // of 512 outputs
  size_t row_bytes_;
  size_t block_bytes_;
  std::vector<int32_t> transform_;
  AlignedBuffer planes_;
  bool is_wide_ = false;
  uint8_t bucket_of_[256];
  std::vector<int32_t> magnitudes_;  // per bucket
  ScratchPlan plan_;
  size_t rows_ = 0, ends_ = 0;
  size_t counters_ = 0, counters_stride_ = 0;
  size_t sums_ = 0, sums_stride_ = 0;
};

}  // namespace

absl::Status SupportsBitsliced(const Problem& problem) {
  const auto refuse = [](const std::string& reason) {
    return MakeError(ErrorId::kUnsupportedNode, "bitsliced: " + reason);
  };
  if (problem.kind != Problem::Kind::kGemm) return refuse("takes Gemm");
  if (problem.is_real()) return refuse("takes integer grids");
  const Codebook& w = problem.w;
  if (!w.is_signed || w.grid != Grid::kQ7 || w.exponent_bits > kBitslicedMaxBits) {
    return refuse(absl::StrCat("takes signed q7 weights of at most ", kBitslicedMaxBits, " exponent bits"));
  }
  if (problem.k > kMaxRows) return refuse(absl::StrCat(problem.k, " inputs > ", kMaxRows));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileBitslicedGemm(Problem problem, const NodeContext& context,
                                                                   const ExponentOptions& options) {
  // Rows of the input run one after the other.
  const double products = static_cast<double>(problem.outputs) * static_cast<double>(problem.k);
  const size_t parts = PartsFor(context, products * kStreamFactor, options.products_per_thread);
  return std::unique_ptr<CompiledNode>(new BitslicedGemm(std::move(problem), context, parts));
}

}  // namespace tally
