#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/onednn/codebook_nodes.h"
#include "backends/onednn/decode.h"
#include "backends/onednn/digits.h"
#include "backends/onednn/dot_node.h"
#include "backends/onednn/layout.h"
#include "backends/onednn/library.h"
#include "backends/onednn/scratch.h"
#include "backends/onednn/slices.h"
#include "format/error.h"

namespace tally::onednn {
namespace {

// Rows of two full digits whose product stays exact.
constexpr int64_t kMaxSegment = kMaxExactProduct / (kMaxDigit * kMaxDigit);
constexpr int64_t kMaxElements = int64_t{1} << 28;
constexpr int64_t kMaxMatrices = int64_t{1} << 20;
// The operands' matrices that an output matrix is the product of; broadcasting may repeat them.
struct MatrixPair {
  int64_t a, b;
};

struct MatMulGeometry {
  int64_t m = 1, k = 0, n = 1;
  std::vector<MatrixPair> matrices;  // by output matrix
};

MatMulGeometry ResolveMatMul(const NodeContext& context) {
  Shape a = context.inputs[0].shape;
  Shape b = context.inputs[1].shape;
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  const size_t rank = std::max(a.size(), b.size());
  a.insert(a.begin(), rank - a.size(), 1);
  b.insert(b.begin(), rank - b.size(), 1);
  int64_t b_matrices = 1;
  for (size_t i = 0; i + 2 < rank; ++i) b_matrices *= b[i];
  if (b_matrices == 1) {
    // One right-hand matrix: all rows of the left operand are one matrix.
    for (size_t i = 0; i + 2 < rank; ++i) {
      a[rank - 2] *= a[i];
      a[i] = 1;
    }
  }
  MatMulGeometry g;
  g.m = a[rank - 2];
  g.k = a[rank - 1];
  g.n = b[rank - 1];
  if (context.outputs[0].elements() == 0) return g;
  g.matrices = {{0, 0}};
  // Appends one batch extent after the other, outermost first.
  for (size_t i = 0; i + 2 < rank; ++i) {
    std::vector<MatrixPair> longer;
    for (const MatrixPair& t : g.matrices) {
      for (int64_t j = 0; j < std::max(a[i], b[i]); ++j) {
        longer.push_back({t.a * a[i] + (a[i] == 1 ? 0 : j), t.b * b[i] + (b[i] == 1 ? 0 : j)});
      }
    }
    g.matrices = std::move(longer);
  }
  return g;
}

class CodebookMatMul : public CompiledNode {
 public:
  CodebookMatMul(const NodeContext& context, const dnnl::engine& engine)
      : g_(ResolveMatMul(context)), decode_(ChooseDecode(context.cpu)) {
    const Codebook& a = *context.input(0)->codebook;
    const Codebook& b = *context.input(1)->codebook;
    sum_.scales = {static_cast<float>(static_cast<double>(a.scale) * static_cast<double>(b.scale))};
    if (g_.matrices.empty()) return;
    a_entries_ = static_cast<size_t>(a.code_count());
    b_entries_ = static_cast<size_t>(b.code_count());
    a_planes_ = MakeSourcePlanes(a);
    b_tables_ = SignedDigitTables(b);
    sum_.wide = int64_t{a.max_mantissa()} * b.max_mantissa() > std::numeric_limits<int32_t>::max() / g_.k;
    for (int64_t begin = 0; begin < g_.k; begin += kMaxSegment) {
      segments_.push_back({begin, std::min(begin + kMaxSegment, g_.k)});
      for (size_t e = 0; e < b_tables_.size(); ++e) {
        for (const SourcePlane& plane : a_planes_) sum_.factors.push_back(plane.factor * (e == 0 ? 1 : kDigitBase));
      }
    }

    ScopedThreads one_thread(1);
    ScratchLayout scratch;
    const int64_t count = static_cast<int64_t>(g_.matrices.size());
    const double products = static_cast<double>(count * g_.m * g_.n) *
                            static_cast<double>(g_.k * static_cast<int64_t>(a_planes_.size() * b_tables_.size()));
    const int64_t threads = UsefulThreads(products, context.num_threads);
    const int64_t matrix_slices = std::min(count, threads);
    const int64_t bands = std::min(g_.m, threads / matrix_slices);
    for (int64_t i = 0; i < matrix_slices * bands; ++i) {
      const int64_t s = i / bands, band = i % bands;
      slices_.push_back(MakeSlice(s * count / matrix_slices, (s + 1) * count / matrix_slices, band * g_.m / bands,
                                  (band + 1) * g_.m / bands, engine, &scratch));
    }
    scratch_bytes_ = scratch.size();
  }

  absl::Status Run(const RunArgs& args) override {
    args.pool->ParallelFor(slices_.size(), 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) slices_[i].status = Guarded([&] { return RunSlice(&slices_[i], args); });
    });
    for (const Slice& slice : slices_) {
      if (!slice.status.ok()) return slice.status;
    }
    return absl::OkStatus();
  }

  Encoding input_encoding(size_t) const override { return Encoding::kCodes; }
  size_t scratch_bytes() const override { return scratch_bytes_; }
  std::string kernel() const override {
    return slices_.empty() ? "empty" : slices_.front().products.front().implementation();
  }
  std::string isa() const override { return EffectiveIsaName(); }

 private:
  // Rows row_begin .. row_end - 1 of output matrices begin .. end - 1.
  struct Slice {
    int64_t begin, end;
    int64_t row_begin, row_end;
    std::vector<Executable> products;  // by segment
    dnnl::stream stream;
    size_t a_offset, b_offset, results_offset, scratchpad_offset;
    absl::Status status;
  };

  Slice MakeSlice(int64_t begin, int64_t end, int64_t row_begin, int64_t row_end, const dnnl::engine& engine,
                  ScratchLayout* scratch) const {
    using dnnl::memory;
    Slice slice{begin, end, row_begin, row_end, {}, dnnl::stream(engine), 0, 0, 0, 0, absl::OkStatus()};
    // All planes of the left operand are rows of one product.
    const int64_t rows = static_cast<int64_t>(a_planes_.size()) * (row_end - row_begin);
    size_t scratchpad = 0;
    for (const Segment& segment : segments_) {
      const memory::desc source({rows, segment.size()}, memory::data_type::u8, memory::format_tag::ab);
      const memory::desc weights({segment.size(), g_.n}, memory::data_type::s8, memory::format_tag::ab);
      const memory::desc destination({rows, g_.n}, memory::data_type::s32, memory::format_tag::ab);
      const dnnl::matmul::desc d(source, weights, destination);
      const dnnl::matmul::primitive_desc pd(d, UserScratchpad(), engine);
      slice.products.emplace_back(dnnl::matmul(pd), pd,
                                  std::vector<Argument>{{DNNL_ARG_SRC, source, nullptr},
                                                        {DNNL_ARG_WEIGHTS, weights, nullptr},
                                                        {DNNL_ARG_DST, destination, nullptr}},
                                  engine);
      scratchpad = std::max(scratchpad, slice.products.back().scratchpad_bytes());
    }
    const int64_t longest = std::min(kMaxSegment, g_.k);
    slice.a_offset = scratch->Add(static_cast<size_t>(rows * longest));
    slice.b_offset = scratch->Add(static_cast<size_t>(longest * g_.n));
    slice.results_offset =
        scratch->Add(segments_.size() * b_tables_.size() * static_cast<size_t>(rows * g_.n) * sizeof(int32_t));
    slice.scratchpad_offset = scratch->Add(scratchpad);
    return slice;
  }

  absl::Status RunSlice(Slice* slice, const RunArgs& args) {
    ScopedThreads one_thread(1);
    const int64_t rows = slice->row_end - slice->row_begin;
    uint8_t* a = args.scratch + slice->a_offset;
    uint8_t* b = args.scratch + slice->b_offset;
    int32_t* results = reinterpret_cast<int32_t*>(args.scratch + slice->results_offset);
    const int64_t result_size = static_cast<int64_t>(a_planes_.size()) * rows * g_.n;
    for (int64_t t = slice->begin; t < slice->end; ++t) {
      const MatrixPair& matrix = g_.matrices[static_cast<size_t>(t)];
      const uint8_t* a_codes =
          static_cast<const uint8_t*>(args.inputs[0]) + (matrix.a * g_.m + slice->row_begin) * g_.k;
      const uint8_t* b_codes = static_cast<const uint8_t*>(args.inputs[1]) + matrix.b * g_.k * g_.n;
      int32_t* result = results;
      for (size_t s = 0; s < segments_.size(); ++s) {
        const Segment& segment = segments_[s];
        uint8_t* to = a;
        for (const SourcePlane& plane : a_planes_) {
          for (int64_t r = 0; r < rows; ++r, to += segment.size()) {
            decode_(a_codes + r * g_.k + segment.begin, plane.digit.data(), a_entries_,
                    static_cast<size_t>(segment.size()), to);
          }
        }
        Executable& product = slice->products[s];
        for (const std::array<int8_t, 256>& table : b_tables_) {
          decode_(b_codes + segment.begin * g_.n, reinterpret_cast<const uint8_t*>(table.data()), b_entries_,
                  static_cast<size_t>(segment.size() * g_.n), b);
          TALLY_RETURN_IF_ERROR(product.Bind(0, a));
          TALLY_RETURN_IF_ERROR(product.Bind(1, b));
          TALLY_RETURN_IF_ERROR(product.Bind(2, result));
          TALLY_RETURN_IF_ERROR(product.Execute(slice->stream, args.scratch + slice->scratchpad_offset));
          result += result_size;
        }
      }
      // A row of the output is an image of one pixel.
      Block block;
      block.channels = block.channel_count = g_.n;
      block.positions = block.position_count = 1;
      block.image_begin = t * g_.m + slice->row_begin;
      block.images = rows;
      sum_.Finish(results, block, Tail(), static_cast<float*>(args.outputs[0]));
    }
    return absl::OkStatus();
  }

  MatMulGeometry g_;
  DecodeFn decode_;
  size_t a_entries_ = 0, b_entries_ = 0;  // codes of the operands
  std::vector<SourcePlane> a_planes_;
  std::vector<std::array<int8_t, 256>> b_tables_;
  std::vector<Segment> segments_;  // of K
  std::vector<Slice> slices_;
  ProductSum sum_;
  size_t scratch_bytes_ = 0;
};

}  // namespace

absl::Status SupportsCodebookMatMul(const NodeContext& context) {
  TALLY_RETURN_IF_ERROR(CheckEncodable(context.input(0)));
  TALLY_RETURN_IF_ERROR(CheckEncodable(context.input(1)));
  const int64_t outputs = context.outputs[0].elements();
  for (int64_t elements : {context.inputs[0].elements(), context.inputs[1].elements(), outputs}) {
    if (elements > kMaxElements) return Unsupported(absl::StrCat(elements, " elements > ", kMaxElements));
    if (elements == 0 && outputs > 0) return Unsupported("dot products of no elements");
  }
  const Shape& shape = context.outputs[0].shape;
  int64_t matrices = 1;
  for (size_t i = 0; outputs > 0 && i + 2 < shape.size(); ++i) matrices *= shape[i];
  if (matrices > kMaxMatrices) return Unsupported(absl::StrCat(matrices, " matrices > ", kMaxMatrices));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CompiledNode>> CompileCodebookMatMul(const NodeContext& context,
                                                                    const dnnl::engine& engine) {
  return std::unique_ptr<CompiledNode>(std::make_unique<CodebookMatMul>(context, engine));
}

}  // namespace tally::onednn
