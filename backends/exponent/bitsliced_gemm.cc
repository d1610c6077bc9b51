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
// Rows that are sorted by bucket together: what is being read and what is being fetched share the L2 cache.
constexpr size_t kChunkRows = 1024;

class BitslicedGemm : public CompiledNode {
 public:
  BitslicedGemm(Problem problem, const NodeContext& context, size_t parts)
      : problem_(std::move(problem)),
        entry_(ChooseKernel(BitslicedKernels(), context.cpu)),
        row_kernels_(*ChooseKernel(RowKernelTable(), context.cpu).kernel),
        parts_(parts),
        blocks_((problem_.outputs + kBitslicedOutputs - 1) / kBitslicedOutputs),
        row_bytes_(static_cast<size_t>(problem_.w.stored_bits()) * kBitslicedPlane),
        transform_(WalshTransform(problem_.w)),
        zeros_(row_bytes_) {
    std::memset(zeros_.data(), 0, row_bytes_);
    PackWeights();
    problem_.weights = nullptr;
    PlanBuckets();
    const size_t max_chunks = (problem_.k + kChunkRows - 1) / kChunkRows;
    size_t unused = 0;
    rows_ = plan_.Add(1, problem_.k * sizeof(uint32_t), &unused);
    ascending_ = plan_.Add(1, problem_.k * sizeof(uint32_t), &unused);
    ends_ = plan_.Add(1, max_chunks * magnitudes_.size() * sizeof(uint32_t), &unused);
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
  // [block of 512 outputs][row][planes].
  void PackWeights() {
    planes_ = AlignedBuffer(blocks_ * problem_.k * row_bytes_);
    std::memset(planes_.data(), 0, planes_.size());
    WeightRows rows(problem_);
    uint64_t max_sum = 0;
    const std::vector<int32_t> mantissas = problem_.w.SignedMantissas();
    for (size_t o = 0; o < problem_.outputs; ++o) {
      const uint8_t* codes = rows.Read(o);
      uint8_t* block = planes_.data() + o / kBitslicedOutputs * problem_.k * row_bytes_;
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

  // Sorts the rows of one input by bucket, chunk by chunk.
  void SortRows(const RunArgs& args, const uint8_t* codes, BitslicedCall* call) const {
    uint32_t* ascending = reinterpret_cast<uint32_t*>(args.scratch + ascending_);
    uint32_t* rows = reinterpret_cast<uint32_t*>(args.scratch + rows_);
    uint32_t* ends = reinterpret_cast<uint32_t*>(args.scratch + ends_);
    size_t count = 0;
    for (size_t i = 0; i < problem_.k; ++i) {
      ascending[count] = static_cast<uint32_t>(i);
      count += bucket_of_[codes[i]] != kNone ? 1 : 0;
    }
    const size_t buckets = magnitudes_.size(), chunks = (count + kChunkRows - 1) / kChunkRows;
    for (size_t c = 0; c < chunks; ++c, ends += buckets) {
      const size_t begin = count * c / chunks, end = count * (c + 1) / chunks;
      uint32_t positions[256] = {};
      for (size_t i = begin; i < end; ++i) ++positions[bucket_of_[codes[ascending[i]]]];
      uint32_t at = static_cast<uint32_t>(begin);
      for (size_t b = 0; b < buckets; ++b) {
        const uint32_t size = positions[b];
        positions[b] = at;
        ends[b] = at += size;
      }
      for (size_t i = begin; i < end; ++i) rows[positions[bucket_of_[codes[ascending[i]]]]++] = ascending[i];
    }
    call->rows = rows;
    call->ascending = ascending;
    call->ends = reinterpret_cast<uint32_t*>(args.scratch + ends_);
    call->chunks = chunks;
  }

  void RunRow(const RunArgs& args, size_t m) const {
    BitslicedCall shared;
    shared.n = problem_.w.exponent_bits;
    shared.row_count = problem_.k;
    shared.buckets = magnitudes_.size();
    shared.magnitudes = magnitudes_.data();
    shared.transform = transform_.data();
    shared.zeros = zeros_.data();
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
        call.is_last = b + 1 == blocks_;
        call.planes = planes_.data() + b * problem_.k * row_bytes_;
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
  std::vector<int32_t> transform_;
  AlignedBuffer zeros_, planes_;
  bool is_wide_ = false;
  uint8_t bucket_of_[256];
  std::vector<int32_t> magnitudes_;  // per bucket
  ScratchPlan plan_;
  size_t rows_ = 0, ascending_ = 0, ends_ = 0;
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
